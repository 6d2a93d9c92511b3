import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { test } from 'tap'

const documents = [
  'README.md',
  'CONTRIBUTING.md',
  'SECURITY.md',
  'test/README.md',
  'test/cluster/README.md',
  'docs/glossary.md',
  'docs/architecture.md',
  'docs/node.md',
  'docs/s3.md',
  'docs/benchmarks.md'
]
const root = join(import.meta.dirname, '../..')

/** The paths that a document links to or names in code, without those on the web. */
function pathsOf(document: string, text: string): string[] {
  const links = [...text.matchAll(/\]\(([^)#\s]+)(?:#[^)]*)?\)/g)].flatMap(([, path = '']) =>
    /^https?:/.test(path) ? [] : [join(dirname(document), path)]
  )
  const named = [...text.matchAll(/(?<![\w./-])(?:src|storage|config|test|build|docs)\/[\w./-]+\.(?:ts|md|yaml|json)\b/g)].map(
    ([path]) => path
  )
  return [...links, ...(document.startsWith('test/') ? [] : named)]
}

for (const document of documents) {
  test(`${document}: every path that it names exists`, async t => {
    const paths = pathsOf(document, await readFile(join(root, document), 'utf8'))
    t.same(
      paths.filter(path => !existsSync(join(root, path))),
      []
    )
  })
}

test('test/README.md: a newcomer finds a test by the words of the field', async t => {
  const text = await readFile(join(root, 'test/README.md'), 'utf8')
  const words = [
    'garbage collection',
    'corrupt',
    'throttle',
    'out of order',
    'resume',
    'disk full',
    'mount',
    'referrers',
    'TLS',
    'durability'
  ]
  for (const word of words) t.match(text, new RegExp(`^\\| [^|]*${word}[^|]* \\| \\[`, 'm'), word)
  t.ok(text.match(/\]\([^)]*\.test\.ts\)/g)?.length, 'and it links to tests')
})
