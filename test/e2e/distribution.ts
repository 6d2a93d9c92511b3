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

/** What a CNCF Distribution is started with; on a bucket it has no use for the root. */
export interface DistributionOptions extends RegistryOptions {
  s3?: { server: S3Server; bucket: string } | undefined
  /** Debian's docker-registry, which is version 2.8, where nothing is said. */
  program?: Program
}

/** A CNCF Distribution. */
export type Program = 'docker-registry' | 'distribution3'

// Version 2 does not start where the first one names a file; version 3 would send traces to a collector.
const environment = { AWS_CA_BUNDLE: '', OTEL_TRACES_EXPORTER: 'none' }

/** Starts it on the root or the bucket; it is stopped when the test ends, if not before. */
export async function startDistribution(t: Test, options: DistributionOptions): Promise<Registry> {
  const registry = await launchDistribution({ ...options, folder: await temporaryFolder(t) })
  t.teardown(async () => void (await registry.stop()))
  return registry
}

/** Starts it with its settings in the folder; whoever calls stops it. */
export async function launchDistribution({
  folder,
  root,
  pki,
  users,
  s3,
  program = 'docker-registry'
}: DistributionOptions & LaunchOptions): Promise<Registry> {
  const address = `127.0.0.1:${await freePort()}`
  const tls = pki === undefined ? {} : { tls: { certificate: pki.certificate, key: pki.key } }
  const auth = users === undefined ? {} : { auth: { htpasswd: { realm: 'test', path: await writeHtpasswd(folder, users) } } }
  const file = await writeConfig(folder, { ...storage({ root, s3 }), http: { addr: address, ...tls }, ...auth })
  const place = { address, root, ...(pki === undefined ? {} : { ca: pki.ca }) }
  const daemon = await startDaemon({
    command: program,
    args: ['serve', file],
    env: environment,
    probe: async () => void (await ask(place, { path: '/v2/' }))
  })
  return { ...daemon, ...place }
}

/** Lets it collect what no manifest refers to; nothing may be serving the same meanwhile. */
export async function collectGarbage(t: Test, { program = 'docker-registry', ...place }: DistributionOptions): Promise<string> {
  const file = await writeConfig(await temporaryFolder(t), { ...storage(place), http: { addr: '127.0.0.1:0' } })
  return await must(program, ['garbage-collect', file], { env: environment })
}

function storage({ root, s3 }: Pick<DistributionOptions, 'root' | 's3'>): object {
  return { storage: { ...(s3 ? { s3: bucket(s3) } : { filesystem: { rootdirectory: root } }), delete: { enabled: true } } }
}

function bucket({ server: { endpoint, credentials }, bucket }: NonNullable<DistributionOptions['s3']>): object {
  const keys = { accesskey: credentials.accessKeyId, secretkey: credentials.secretAccessKey }
  return { bucket, region: 'us-east-1', regionendpoint: endpoint, forcepathstyle: true, secure: false, ...keys }
}

async function writeConfig(folder: string, settings: object): Promise<string> {
  const file = join(folder, 'distribution.yml')
  await writeFile(file, stringify({ version: 0.1, log: { level: 'warn' }, ...settings }))
  return file
}
