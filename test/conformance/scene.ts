import { mkdir, mkdtemp } from 'node:fs/promises'
import { join } from 'node:path'
import type { Registry } from '../e2e/registry.ts'
import { launchProduct, launchRegistry } from '../e2e/registry.ts'
import { launchS3, makeBucket, s3Settings } from '../support/s3-server.ts'
import { startSplit } from './split.ts'

/** What the suite runs against. */
export interface Scene {
  /** `127.0.0.1:port` */
  readonly address: string
  /** Further settings of the suite. */
  readonly switches: Readonly<Record<string, string>>
  /** Which requests went where, where that is not plain. */
  note(): string
  /** What its registries have written. */
  log(): string
  stop(): Promise<void>
}

/** Why there is no scene here. */
export interface Absence {
  readonly absent: string
}

/** How a scene is set up in a folder of its own, by title. */
export const scenes: Readonly<Record<string, (folder: string) => Promise<Scene | Absence>>> = {
  Local: async folder => await local(folder),
  'Direct in front of Local': async folder => await behind(folder, 'Direct', {}),
  'Proxy in front of Local': async folder => await behind(folder, 'Proxy', kept),
  'Local on a bucket': async folder => await onBucket(folder)
}

// By digest a cache serves what it has without asking, which is what it is for: that something was deleted upstream does not show. Everything else is on, that a deleted
// tag is gone too.
const kept = { OCI_API_MANIFESTS_ATOMIC: 'false', OCI_API_BLOBS_ATOMIC: 'false' }

async function local(folder: string): Promise<Scene> {
  const registry = await launchRegistry(await place(folder))
  return {
    address: registry.address,
    switches: {},
    note: () => '',
    log: () => registry.log(),
    stop: async () => void (await registry.stop())
  }
}

async function onBucket(folder: string): Promise<Scene | Absence> {
  const server = await launchS3(folder, { real: 'conformance' })
  if (server === undefined) return { absent: 'versitygw is absent (test/tools/build versitygw makes it where Go is present)' }
  const own = await place(folder)
  const settings = { storage: { s3: s3Settings(server, makeBucket(server), join(own.folder, 'spool')) } }
  const registry = await launchProduct({ ...own, settings })
  return {
    address: registry.address,
    switches: {},
    note: () => '',
    log: () => registry.log(),
    stop: async () => {
      await registry.stop()
      await server.kill()
    }
  }
}

async function behind(folder: string, mode: 'Direct' | 'Proxy', switches: Scene['switches']): Promise<Scene> {
  const source = await launchProduct(await place(folder))
  const settings = {
    registry: { mode, [mode.toLowerCase()]: { imagesRepo: `${source.address}/conformance`, scheme: 'HTTP' } },
    server: { path: 'conformance' },
    // What was pushed a moment ago has to be there, whatever was asked for before.
    cache: { tagTTL: '0s', negativeTTL: '0s', onUpstreamNotFound: 'forget' }
  }
  const registry: Registry = await launchProduct({ ...(await place(folder)), settings })
  const split = await startSplit(source.address, registry.address)
  return {
    address: split.address,
    switches,
    note: () => ` (${split.counts.reads} requests to ${mode}, ${split.counts.writes} to Local)`,
    log: () => `${source.log()}${registry.log()}`,
    stop: async () => {
      split.stop()
      await registry.stop()
      await source.stop()
    }
  }
}

async function place(folder: string): Promise<{ folder: string; root: string }> {
  const own = await mkdtemp(join(folder, 'registry-'))
  await mkdir(join(own, 'root'))
  return { folder: own, root: join(own, 'root') }
}
