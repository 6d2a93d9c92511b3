import { chmod, mkdir, rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'tap'
import { describePlan } from '../../../src/containerd/describe.ts'
import { install, restore } from '../../../src/containerd/install.ts'
import { folder } from '../install/scene.ts'
import { directory, fixed, makeCa } from './scene.ts'

const auth = { username: 'ro', password: 'secret-1' }

test('a new host is described by the lines that come', async t => {
  const root = await folder(t)
  const text = describePlan(await install(directory(fixed, { ca: makeCa() }), { root, only: 'plan' }))
  t.match(text, `write ${join(root, fixed, 'https-127.0.0.1:5001-ca.crt')}\n  + `)
  t.match(text, /^ {2}\+ \d+ bytes, sha256:[0-9a-f]{16}$/m)
  t.match(text, `write ${join(root, fixed, 'hosts.toml')}\n  + `)
  t.match(text, '  + server = "https://127.0.0.1:5001"\n')
  t.notMatch(text, /^ {2}- /m)
})

test('a change is described by what goes and what comes, not by what stays', async t => {
  const root = await folder(t)
  await install(directory(fixed), { root })
  const text = describePlan(await install(directory(fixed, { host: '10.0.0.1:5001' }), { root, only: 'plan' }))
  const [head, ...rest] = text.trimEnd().split('\n')
  t.equal(head, `write ${join(root, fixed, 'hosts.toml')}`)
  t.same(rest, ['  - server = "https://127.0.0.1:5001"', '  + server = "https://10.0.0.1:5001"'])
})

test('a new password is described as a change, and neither the old nor the new is shown', async t => {
  const root = await folder(t)
  await install(directory(fixed, { auth }), { root })
  const text = describePlan(await install(directory(fixed, { auth: { ...auth, password: 'secret-2' } }), { root, only: 'plan' }))
  t.match(text, '  - Authorization = …\n  + Authorization = …\n')
  t.notMatch(text, /Basic/)
})

test('what a foreign file holds in unknown places is not shown', async t => {
  const root = await folder(t)
  await mkdir(join(root, fixed))
  const secrets = [
    'password = "s1"',
    '# password s2',
    'header = { Authorization = "Basic s3" }',
    'X-Token = [',
    '  "s4"',
    ']',
    '["s5"]',
    'server = "https://u:s6@h"'
  ]
  await writeFile(join(root, fixed, 'hosts.toml'), secrets.join('\n'))
  const text = describePlan(await install(directory(fixed), { root, only: 'plan' }))
  t.match(text, 'is kept for restore')
  t.match(text, '  - password = …\n')
  t.notMatch(text, /s[1-6]/)
})

test('a root that is as it should be is described by nothing', async t => {
  const root = await folder(t)
  await install(directory(fixed), { root })
  t.equal(describePlan(await install(directory(fixed), { root, only: 'plan' })), '')
})

test('a file that only has another mode is described by its modes', async t => {
  const root = await folder(t)
  await install(directory(fixed), { root })
  const path = join(root, fixed, 'hosts.toml')
  const { mode } = await stat(path)
  await chmod(path, 0o666)
  const text = describePlan(await install(directory(fixed), { root, only: 'plan' }))
  t.equal(text, `write ${path}\n  - mode 0666\n  + mode ${(mode & 0o777).toString(8).padStart(4, '0')}\n`)
})

test('another authority is described by what its file holds', async t => {
  const root = await folder(t)
  await install(directory(fixed, { ca: makeCa() }), { root })
  const text = describePlan(await install(directory(fixed, { ca: makeCa() }), { root, only: 'plan' }))
  t.match(text, /^write .*-ca\.crt\n {2}- \d+ bytes, sha256:\w{16}\n {2}\+ \d+ bytes, sha256:\w{16}\n$/)
})

test('a foreign file that is as it should be is described as kept for restore', async t => {
  const root = await folder(t)
  await install(directory(fixed), { root })
  await rm(join(root, '.deckhouse-registry'), { recursive: true })
  const text = describePlan(await install(directory(fixed), { root, only: 'plan' }))
  t.match(text, `keep ${join(root, fixed, 'hosts.toml')} for restore`)
  t.notMatch(text, /^write/m)
})

test('a restore is described with the directories that it removes', async t => {
  const root = await folder(t)
  await install(directory(fixed), { root })
  const text = describePlan(await restore({ root, only: 'plan' }))
  t.match(text, `remove ${join(root, fixed, 'hosts.toml')}\n`)
  t.match(text, `remove ${join(root, fixed)} if nothing else is in it\n`)
})
