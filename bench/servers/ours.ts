import { readFileSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { stringify } from 'yaml'
import pkg from '../../package.json' with { type: 'json' }
import { freePort } from '../../test/e2e/place.ts'
import { startEnvironment, startFlags } from '../../test/long/server.ts'
import { plantRegistry } from '../content.ts'
import { startProcess } from '../process.ts'
import { probeOf } from './probe.ts'
import type { Kind, Server, Setup, Task, Upstream } from './server.ts'

/** Everything that is addressed through the upstream of Proxy and Direct begins with it. */
export const platformPath = 'system/deckhouse'

/** A compiled registry, run as `npm start` and the image run it. */
function registryOf(name: string, script: string): Kind {
  return {
    name,
    version: `${pkg.version}, Node ${process.version}`,
    modes: ['Local', 'Proxy', 'Direct'],
    writes: 'pushes',
    start: setup => startRegistry(name, script, setup),
    plant: plantRegistry
  }
}

/** This registry. */
export const ours: Kind = registryOf('ours', join(import.meta.dirname, '../../dist/src/main.js'))

/** Another build of it, by its `dist/src/main.js`, to see what a change costs. */
export const before = (script: string): Kind => registryOf('before', script)

async function startRegistry(
  name: string,
  script: string,
  { folder, task, pki, bucket, users, host = '127.0.0.1' }: Setup
): Promise<Server> {
  const address = `${host}:${await freePort()}`
  const file = join(folder, 'registry.yaml')
  const usersFile = join(folder, 'users')
  if (users !== undefined) await writeFile(usersFile, users)
  const tls = pki ? { tls: { certificate: pki.certificate, key: pki.key } } : {}
  const settings = {
    registry: modeOf(task),
    server: { listen: address, admin: '127.0.0.1:0', ...tls },
    storage: bucket
      ? { s3: { ...bucket, forcePathStyle: true, spool: folder } }
      : { filesystem: { root: task.mode === 'Direct' ? join(folder, 'root') : task.root } },
    auth: { anonymous: ['pull', 'push', 'delete'], ...(users === undefined ? {} : { users: { file: usersFile, roles: {} } }) }
  }
  await writeFile(file, stringify(settings))
  const running = await startProcess({
    command: process.execPath,
    args: [...startFlags, script, 'serve', '--config', file],
    env: { NODE_ENV: 'production', ...startEnvironment },
    log: join(folder, `${name}.log`),
    probe: probeOf(address, pki)
  })
  return { ...running, name, address, ...(pki ? { ca: pki.ca } : {}) }
}

function modeOf(task: Task): object {
  if (task.mode === 'Local') return { mode: 'Local' }
  return { mode: task.mode, [task.mode.toLowerCase()]: upstreamOf(task.upstream) }
}

function upstreamOf({ address, ca }: Upstream): object {
  const reach = ca === undefined ? { scheme: 'HTTP' } : { scheme: 'HTTPS', ca: readFileSync(ca, 'utf8') }
  return { imagesRepo: `${address}/${platformPath}`, ...reach }
}
