import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'tap'
import { loadConfig } from '../../config/load.ts'
import { ConfigError } from '../../config/read/fault.ts'

const auth = 'auth: { anonymous: [pull, metrics] }'

for (const [nodeIP, host] of [
  ['10.0.0.1', '10.0.0.1'],
  ['fd00::1', 'fd00::1']
] as const) {
  test(`one file serves several nodes: both ports on ${nodeIP}, with the ports of the file`, async t => {
    const file = join(t.testdir({ 'registry.yaml': `server: { listen: "0.0.0.0:5005" }\n${auth}` }), 'registry.yaml')
    const { listen, admin } = loadConfig({ file, env: {}, nodeIP }).server
    t.strictSame(
      [listen, admin],
      [
        { host, port: 5005 },
        { host, port: 5002 }
      ]
    )
  })
}

test('what other machines reach has to be protected, though the file names loopback', async t => {
  const file = join(t.testdir({}), 'registry.yaml')
  writeFileSync(file, 'server: { listen: 127.0.0.1:5001 }')
  t.ok(loadConfig({ file, env: {} }))
  t.throws(() => loadConfig({ file, env: {}, nodeIP: '10.0.0.1' }), /server\.listen: expected a loopback address or an auth section/)
})

for (const nodeIP of ['', 'node-1', '10.0.0', '[fd00::1]', '10.0.0.1:5001', '$(NODE_IP)']) {
  test(`--node-ip ${JSON.stringify(nodeIP)} is refused by a line that names it`, async t => {
    t.throws(() => loadConfig({ env: {}, nodeIP }), ConfigError)
    t.throws(() => loadConfig({ env: {}, nodeIP }), /--node-ip.*expected an IP address/)
  })
}
