import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'tap'
import { isAllowed, refusedPackages } from '../../build/licenses.ts'
import { packageFolders, writeNotices } from '../../build/notices.ts'
import { readSbom, sbomText, withoutDevelopment } from '../../build/sbom.ts'
import { project } from '../../build/write.ts'
import pkg from '../../package.json' with { type: 'json' }

const component = (name: string, ...licenses: ({ license: { id?: string; name?: string } } | { expression: string })[]) => ({
  'bom-ref': name,
  name,
  version: '1.0.0',
  licenses
})

test('licenses: of expressions the choices count, and what is not understood is refused', async t => {
  for (const each of ['MIT', '(MIT OR GPL-3.0-only)', 'GPL-3.0-only OR MIT', 'MIT AND ISC', '(GPL-2.0-only OR (MIT AND ISC)) AND 0BSD'])
    t.ok(isAllowed(each), each)
  for (const each of [
    'GPL-3.0-only',
    'MIT AND GPL-3.0-only',
    'MIT OR',
    'AND MIT',
    '(MIT',
    'MIT)',
    'MIT ISC',
    'GPL-2.0-only WITH Classpath-exception-2.0',
    'mit',
    '',
    'SEE LICENSE IN terms.txt',
    'UNLICENSED'
  ])
    t.notOk(isAllowed(each), each)
})

test('licenses: a package under a made-up licence, or under none, is refused by its name', async t => {
  const made = [
    component('good', { license: { id: 'MIT' } }),
    component('either', { expression: '(Made-Up-1.0 OR ISC)' }),
    component('bad', { license: { name: 'Made-Up-1.0' } }),
    component('half', { license: { id: 'MIT' } }, { license: { id: 'Made-Up-1.0' } }),
    component('none')
  ]
  t.strictSame(refusedPackages(made), ['bad@1.0.0: Made-Up-1.0', 'half@1.0.0: MIT and Made-Up-1.0', 'none@1.0.0: no licence'])
})

test('licenses: every package of the program is under an allowed one, and the SBOM is the same each time and complete', async t => {
  const [sbom, again] = await Promise.all([readSbom(project), readSbom(project)])
  t.strictSame(refusedPackages(sbom.components), [])
  t.equal(sbomText(sbom), sbomText(again))
  t.notMatch(sbomText(sbom), /serialNumber|timestamp/)
  t.equal(sbom.metadata.component.name, pkg.name)
  const names = sbom.components.map(({ name }) => name)
  for (const each of Object.keys(pkg.dependencies)) t.ok(names.includes(each), each)
  for (const each of ['tap', 'typescript', '@biomejs/biome']) t.notOk(names.includes(each), `${each} is not a part of the program`)
})

test('sbom: what only the development needs goes, with what leads to it', async t => {
  const development = { ...component('dev'), properties: [{ name: 'cdx:npm:package:development', value: 'true' }] }
  const { components, dependencies } = withoutDevelopment({
    serialNumber: 'urn:uuid:1',
    metadata: { timestamp: 'now', component: { ...component('root'), type: 'library' } },
    components: [component('good'), development],
    dependencies: [
      { ref: 'root', dependsOn: ['good', 'dev'] },
      { ref: 'dev', dependsOn: ['good'] }
    ]
  })
  t.strictSame(
    components.map(({ name }) => name),
    ['good']
  )
  t.strictSame(dependencies, [{ ref: 'root', dependsOn: ['good'] }])
})

test('notices: each bundled package is there with its texts; one without any refers to the same licence', async t => {
  const folder = await mkdtemp(join(tmpdir(), 'registry-notices-'))
  t.teardown(() => rm(folder, { recursive: true, force: true }))
  const put = async (name: string, license: string, files: Record<string, string>) => {
    const at = join(folder, 'node_modules', name)
    await mkdir(at, { recursive: true })
    await writeFile(join(at, 'package.json'), JSON.stringify({ name, version: '1.0.0', license, author: { name: `author of ${name}` } }))
    for (const [file, text] of Object.entries(files)) await writeFile(join(at, file), text)
    return join(at, 'index.js')
  }
  const modules = [
    await put('@a/b', 'MIT', { LICENSE: 'the terms of b\r\n', 'NOTICE.md': 'the notice of b', 'index.js': '' }),
    await put('@a/b/node_modules/c', 'ISC', { 'LICENCE.txt': 'the terms of c' }),
    await put('d', 'MIT', {}),
    await put('f', 'MIT', { LICENSE: 'the terms of b\n' })
  ]
  t.strictSame(packageFolders([...modules, 'src/main.ts']).sort(), modules.map(each => each.slice(0, -'/index.js'.length)).sort())
  const text = await writeNotices(packageFolders(modules))
  for (const each of ['the terms of b\n', 'the notice of b', 'the terms of c', 'd 1.0.0\nLicence: MIT\nAuthor: author of d\n'])
    t.match(text, each)
  t.match(text, 'the terms are those of MIT, printed with @a/b')
  t.match(text, '--- LICENSE: that of @a/b ---')
  t.equal(await writeNotices(packageFolders(modules.toReversed())), text)
  const alone = await put('e', 'Made-Up-1.0', {})
  await t.rejects(writeNotices(packageFolders([alone])), { message: /e@1\.0\.0 has no text/ })
})

test('notices: the build has one of every package of the SBOM whose code it contains', async t => {
  const notices = await readFile(join(project, 'dist/THIRD-PARTY-NOTICES.txt'), 'utf8')
  for (const name of Object.keys(pkg.dependencies)) t.match(notices, `\n${name} `, name)
})
