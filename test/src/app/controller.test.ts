// What ships is one script in which libraries are cut to what is used: the command is started as it ships.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'tap'
import { FakeApi } from '../../support/kubernetes-api.ts'
import { until } from '../support.ts'

const script = process.env['REGISTRY_TEST_SCRIPT'] || join(import.meta.dirname, '../../../src/main.ts')

test('registry controller: the program leads, writes what it finds, and gives the lease back at SIGTERM', async t => {
  const api = await FakeApi.start(t)
  const folder = mkdtempSync(join(tmpdir(), 'controller-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  const kubeconfig = join(folder, 'config')
  const cluster = { name: 'it', cluster: { server: api.url } }
  const contexts = [{ name: 'it', context: { cluster: 'it', user: 'it' } }]
  writeFileSync(
    kubeconfig,
    JSON.stringify({ 'current-context': 'it', clusters: [cluster], users: [{ name: 'it', user: { token: 'T' } }], contexts })
  )
  const flags = ['controller', '--image', 'registry:test', '--kubeconfig', kubeconfig, '--admin', '127.0.0.1:0']
  const program = spawn(process.execPath, [script, ...flags], { stdio: 'ignore' })
  t.teardown(() => program.kill('SIGKILL'))
  const holder = () => (api.get('Lease', 'registry-controller')?.spec as { holderIdentity?: string } | undefined)?.holderIdentity
  await until(() => api.get('Secret', 'registry-state'))
  t.match(holder(), /_[0-9a-f-]{36}$/)
  program.kill('SIGTERM')
  const [code] = await once(program, 'exit')
  t.equal(code, 0)
  t.equal(holder(), '')
})
