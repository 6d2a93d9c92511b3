import { readdir, readFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { test } from 'tap'

const root = join(import.meta.dirname, '../..')
const maxLines = 350
const maxFilesPerFolder = 20

async function sources(): Promise<{ path: string; text: string }[]> {
  const folders = await Promise.all(
    ['config', 'storage', 'src'].map(folder =>
      readdir(join(root, folder), { recursive: true }).then(names => names.map(name => join(folder, name)))
    )
  )
  const paths = folders.flat().filter(path => path.endsWith('.ts'))
  return await Promise.all(paths.map(async path => ({ path, text: await readFile(join(root, path), 'utf8') })))
}

test('sources: no type name is exported from two files', async t => {
  const files = new Map<string, string[]>()
  for (const { path, text } of await sources()) {
    for (const [, name = ''] of text.matchAll(/^export (?:abstract )?(?:interface|class|type) (\w+)/gm))
      files.set(name, [...(files.get(name) ?? []), path])
  }
  t.ok(files.size > 100, `${files.size} types are exported`)
  t.same(
    [...files].filter(([, paths]) => paths.length > 1),
    []
  )
})

test(`sources: no file has more than ${maxLines} lines`, async t => {
  const long = (await sources()).filter(({ text }) => text.trimEnd().split('\n').length > maxLines)
  t.same(
    long.map(({ path }) => path),
    []
  )
})

test(`sources: no folder has more than ${maxFilesPerFolder} files`, async t => {
  const folders = Map.groupBy(await sources(), ({ path }) => dirname(path))
  t.same(
    [...folders].filter(([, files]) => files.length > maxFilesPerFolder).map(([folder]) => folder),
    []
  )
})
