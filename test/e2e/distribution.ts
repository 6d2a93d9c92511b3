import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Test } from 'tap'
import { stringify } from 'yaml'
import type { S3Server } from '../support/s3-server.ts'
import { must } from './command.ts'
import { startDaemon } from './daemon.ts'
import { writeHtpasswd } from './htpasswd.ts'
import { freePort, temporaryFolder } from './place.ts'
import type { LaunchOptions, Registry, RegistryOptions } from './registry.ts'
import { ask } from './request.ts'

/** What a docker-registry is started with; on a bucket it has no use for the root. */
export interface DistributionOptions extends RegistryOptions {
  s3?: { server: S3Server; bucket: string }
}

/** Starts Debian's docker-registry on the root; it is stopped when the test ends, if not before. */
export async function startDistribution(t: Test, options: DistributionOptions): Promise<Registry> {
  const registry = await launchDistribution({ ...options, folder: await temporaryFolder(t) })
  t.teardown(async () => void (await registry.stop()))
  return registry
}

/** Starts Debian's docker-registry with its settings in the folder; whoever calls stops it. */
export async function launchDistribution({ folder, root, pki, users, s3 }: DistributionOptions & LaunchOptions): Promise<Registry> {
  const address = `127.0.0.1:${await freePort()}`
  const tls = pki === undefined ? {} : { tls: { certificate: pki.certificate, key: pki.key } }
  const auth = users === undefined ? {} : { auth: { htpasswd: { realm: 'test', path: await writeHtpasswd(folder, users) } } }
  const file = await writeConfig(folder, { ...(s3 ? bucket(s3) : storage(root)), http: { addr: address, ...tls }, ...auth })
  const place = { address, root, ...(pki === undefined ? {} : { ca: pki.ca }) }
  const daemon = await startDaemon({
    command: 'docker-registry',
    args: ['serve', file],
    // It does not start where this names a file.
    env: { AWS_CA_BUNDLE: '' },
    probe: async () => void (await ask(place, { path: '/v2/' }))
  })
  return { ...daemon, ...place }
}

/** Lets docker-registry collect what no manifest refers to; nothing may be serving the root meanwhile. */
export async function collectGarbage(t: Test, root: string): Promise<string> {
  const file = await writeConfig(await temporaryFolder(t), { ...storage(root), http: { addr: '127.0.0.1:0' } })
  return await must('docker-registry', ['garbage-collect', file])
}

function storage(root: string): object {
  return { storage: { filesystem: { rootdirectory: root }, delete: { enabled: true } } }
}

function bucket({ server, bucket }: { server: S3Server; bucket: string }): object {
  const { endpoint, credentials } = server
  const keys = { accesskey: credentials.accessKeyId, secretkey: credentials.secretAccessKey }
  return { storage: { s3: { bucket, region: 'us-east-1', regionendpoint: endpoint, secure: false, ...keys }, delete: { enabled: true } } }
}

async function writeConfig(folder: string, settings: object): Promise<string> {
  const file = join(folder, 'distribution.yml')
  await writeFile(file, stringify({ version: 0.1, log: { level: 'warn' }, ...settings }))
  return file
}
