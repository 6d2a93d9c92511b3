import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { stringify } from 'yaml'
import { freePort } from '../../test/e2e/place.ts'
import { plantRegistry } from '../content.ts'
import { startProcess } from '../process.ts'
import { probeOf } from './probe.ts'
import type { Kind, Server, Setup, Upstream } from './server.ts'

/** A registry of CNCF Distribution: Debian's docker-registry (2.8), or the one that was built here (3). */
export function distribution(name: string, command: string, version: string): Kind {
  return {
    name,
    version,
    modes: ['Local', 'Proxy'],
    writes: 'pushes',
    start: setup => start(name, command, setup),
    plant: plantRegistry
  }
}

async function start(name: string, command: string, { folder, task, pki, bucket }: Setup): Promise<Server> {
  if (task.mode === 'Direct') throw new Error(`${name} cannot pass through`)
  const address = `127.0.0.1:${await freePort()}`
  const tls = pki ? { tls: { certificate: pki.certificate, key: pki.key, minimumtls: 'tls1.3' } } : {}
  const settings = {
    version: 0.1,
    // One line for each request, as the others write it: at level info it would be two.
    log: { level: 'warn', accesslog: { disabled: false } },
    storage: { cache: { blobdescriptor: 'inmemory' }, ...driverOf(task.root, bucket), delete: { enabled: true } },
    http: { addr: address, ...tls },
    ...(task.mode === 'Proxy' ? { proxy: { remoteurl: urlOf(task.upstream) } } : {})
  }
  const file = join(folder, `${name}.yml`)
  await writeFile(file, stringify(settings))
  const trust = task.mode === 'Proxy' && task.upstream.ca !== undefined ? { SSL_CERT_FILE: task.upstream.ca } : {}
  // Version 3 would send traces to a collector otherwise.
  const env = { ...trust, OTEL_TRACES_EXPORTER: 'none' }
  const log = join(folder, `${name}.log`)
  const running = await startProcess({ command, args: ['serve', file], env, log, probe: probeOf(address, pki) })
  return { ...running, name, address, ...(pki ? { ca: pki.ca } : {}) }
}

function driverOf(root: string, bucket: Setup['bucket']): object {
  if (!bucket) return { filesystem: { rootdirectory: root } }
  const { accessKeyId: accesskey, secretAccessKey: secretkey } = bucket.credentials
  const place = { regionendpoint: bucket.endpoint, bucket: bucket.bucket, region: 'us-east-1', forcepathstyle: true, secure: false }
  return { s3: { ...place, accesskey, secretkey }, redirect: { disable: true } }
}

function urlOf({ address, ca }: Upstream): string {
  return `${ca === undefined ? 'http' : 'https'}://${address}`
}
