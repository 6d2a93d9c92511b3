import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'tap'
import { loadConfig } from '../../config/load.ts'
import { parseCertificates } from '../../config/values/certificates.ts'
import { authority, faultsOf, folder, loaded } from './written.ts'

const key = '-----BEGIN PRIVATE KEY-----\nhunter2\n-----END PRIVATE KEY-----\n'
const direct = (ca: string) => `registry: { mode: Direct, direct: { ca: ${JSON.stringify(ca)} } }`

test('of a PEM text the certificates are kept, without what is written around them', async t => {
  t.equal(parseCertificates(`# ours\n${authority}\nand again\n${authority.replaceAll('\n', '\r\n')}`), authority + authority)
  t.equal(loaded(t, direct(`text ${authority}`)).registry.upstream?.ca, authority)
})

test('what is not a certificate is refused and not printed', async t => {
  const damaged = authority.replace('MII', 'MIJ')
  const cut = authority.slice(0, 200)
  for (const ca of ['no PEM', damaged, cut, authority + cut, key, authority + key, authority + damaged]) {
    t.same(
      faultsOf(() => loaded(t, direct(ca))),
      [{ file: 'registry.yaml', line: 1, path: 'registry.direct.ca', expected: 'certificates in PEM (X.509) and nothing else' }],
      ca.slice(0, 40)
    )
  }
})

test('a wrong authority in a file is refused at the setting that names the file', async t => {
  const cwd = folder(t)
  writeFileSync(join(cwd, 'ca.crt'), 'none')
  writeFileSync(join(cwd, 'r.yaml'), 'registry:\n  mode: Direct\n  direct:\n    caFile: ca.crt')
  const [fault] = faultsOf(() => loadConfig({ file: 'r.yaml', cwd, env: {} }))
  t.match(fault, { line: 4, path: 'registry.direct.caFile' })
})

test('an authority in both places is refused', async t => {
  const [fault] = faultsOf(() => loaded(t, 'registry: { mode: Direct, direct: { ca: "", caFile: x } }'))
  t.match(fault, { path: 'registry.direct.caFile', expected: 'either ca or caFile, not both' })
})
