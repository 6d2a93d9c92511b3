import { existsSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { stringify } from 'yaml'
import { host } from '../../test/e2e/containerd.ts'
import type { Pki } from '../../test/e2e/pki.ts'
import { freePort } from '../../test/e2e/place.ts'
import { startEnvironment, startFlags } from '../../test/long/server.ts'
import { startProcess } from '../process.ts'
import { probeOf } from './probe.ts'
import type { Server, Upstream } from './server.ts'

/** What a node has between its containerd and the replicas: something that it starts, or nothing. */
export interface Balancer {
  readonly name: string
  /** For its files and its log there is a folder; the replicas speak TLS. Undefined where containerd knows all replicas itself. */
  readonly start?: (folder: string, replicas: readonly Upstream[], pki: Pki) => Promise<Server>
}

const script = join(import.meta.dirname, '../../dist/src/main.js')
const streamModule = '/usr/lib/nginx/modules/ngx_stream_module.so'

/** containerd's own list of hosts. */
export const noBalancer: Balancer = { name: 'no balancer' }

/** The agent of this registry: it ends TLS, and the first replica is the node's own. */
export const agent: Balancer = {
  name: 'ours',
  start: async (folder, replicas, pki) => {
    const [address, admin] = [`127.0.0.1:${await freePort()}`, `127.0.0.1:${await freePort()}`]
    const pool = {
      replicas: replicas.map((each, at) => ({ address: each.address, ...(at === 0 ? { local: true } : {}) })),
      scheme: 'HTTPS',
      caFile: pki.ca
    }
    const tls = { certificate: pki.certificate, key: pki.key }
    const file = join(folder, 'agent.yaml')
    await writeFile(file, stringify({ agent: { listen: address, admin, tls, routes: [{ names: [host], pools: [pool] }] } }))
    const running = await startProcess({
      command: process.execPath,
      args: [...startFlags, script, 'agent', '--config', file],
      env: { NODE_ENV: 'production', ...startEnvironment },
      log: join(folder, 'agent.log'),
      probe: probeOf(address, pki)
    })
    return { ...running, name: 'ours', address, ca: pki.ca }
  }
}

/** nginx `stream` with the settings of Deckhouse's `registry-proxy`: TCP by least connections, TLS passes through. */
const nginxStream: Balancer = {
  name: 'nginx stream',
  start: async (folder, replicas, pki) => {
    const address = `127.0.0.1:${await freePort()}`
    const file = join(folder, 'stream.conf')
    await writeFile(
      file,
      `daemon off;
load_module ${streamModule};
user root;
worker_processes 2;
worker_rlimit_nofile 130048;
worker_shutdown_timeout 10s;
pid ${folder}/stream.pid;
error_log ${folder}/stream-error.log error;
events { worker_connections 16384; }
stream {
  upstream registry {
    least_conn;
    ${replicas.map(each => `server ${each.address};`).join('\n    ')}
  }
  server {
    listen ${address};
    proxy_pass registry;
    proxy_timeout 1h;
    proxy_connect_timeout 1s;
  }
}
`
    )
    const running = await startProcess({
      command: 'nginx',
      args: ['-c', file],
      log: join(folder, 'stream.log'),
      probe: probeOf(address, pki)
    })
    return { ...running, name: 'nginx stream', address, ca: pki.ca }
  }
}

/** Those that this machine has; containerd alone is the first, which the others are compared with. */
export function balancers(say: (text: string) => void): readonly Balancer[] {
  if (existsSync(streamModule)) return [noBalancer, agent, nginxStream]
  say('missing: nginx stream (Debian package libnginx-mod-stream)')
  return [noBalancer, agent]
}
