import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'tap'
import { describePlan } from '../../../src/containerd/describe.ts'
import { install } from '../../../src/containerd/install.ts'
import { folder } from '../install/scene.ts'
import { directory, fixed, makeCa } from './scene.ts'

const auth = { username: 'ro', password: 'secret-1' }

test('a new host is described by the lines that come', async t => {
  const root = await folder(t)
  const text = describePlan(await install(directory(fixed, { ca: makeCa() }), { root, only: 'plan' }))
  t.match(text, `write ${join(root, fixed, 'https-127.0.0.1:5001-ca.crt')}\nwrite ${join(root, fixed, 'hosts.toml')}\n  + `)
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
