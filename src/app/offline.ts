import { stat } from 'node:fs/promises'
import type { Config } from '../../config/schema.ts'
import { LockedError } from '../../storage/fs/lock.ts'
import { openContent } from '../content/content.ts'
import { collect } from '../content/gc/collect.ts'
import { createYield } from '../content/gc/yield.ts'
import type { StorageContext } from '../operations/operation.ts'
import { loadScrubPosition, saveScrubPosition } from '../operations/scrub-position.ts'
import type { RecordOperation } from '../ports/operation-record.ts'
import { Audit } from '../telemetry/audit.ts'
import { createLog } from '../telemetry/log.ts'
import { openStorage } from './open-storage.ts'

/** A storage that no registry owns, while a command works on it. */
export interface Offline {
  context: StorageContext
  /** Writes a line of the audit file, if there is one: standard output is the command's. */
  record: RecordOperation
  /** What `registry status` prints without a registry. */
  status(): Promise<object>
  close(): Promise<void>
  [Symbol.asyncDispose](): Promise<void>
}

/** Opens the storage of a configuration, and locks a directory; an error says what to do. Creates nothing. */
export async function openOffline(config: Config): Promise<Offline> {
  const notRunning = `no registry is running behind ${config.server.control}`
  if (!config.storage.s3) await checkOwner(config.storage.filesystem.root, notRunning)
  const print = (_fields: object | string, text?: string) => void process.stderr.write(`${text ?? ''}\n`)
  const { storage, location } = await openStorage(config, { warn: print, error: print, info: print }, { writing: undefined }).catch(
    error => {
      throw error instanceof LockedError ? new Error(`${error.message}, but ${notRunning}: is server.control the same there?`) : error
    }
  )
  let audit: Promise<Audit | undefined> | undefined
  const close = async () => {
    await (await audit?.catch(() => undefined))?.[Symbol.asyncDispose]()
    await storage.close()
  }
  const content = openContent(storage, () => {})
  await content.quarantine.load()
  const tree = { content, storage, uploadIdleMs: config.limits.uploadIdle, now: Date.now }
  const unreferencedCached = config.registry.mode === 'Proxy' ? 'keep' : 'sweep'
  const context: StorageContext = {
    tree,
    // Nothing expires: expiry needs an upstream, and only a running registry has one.
    collect: ({ dryRun, signal }) =>
      collect(storage, content, {
        ...config.gc,
        unreferencedCached,
        yielder: createYield(signal, () => false),
        ...(dryRun ? { dryRun } : {})
      }),
    reportScrub: () => {},
    recordScrub: async (began, { damaged, mended }) => {
      const { round } = await loadScrubPosition(storage)
      await saveScrubPosition(storage, { ...(round && { round }), last: { began, ended: tree.now(), damaged: damaged - mended } })
    }
  }
  return {
    context,
    record: async entry => {
      audit ??= openAuditFile(config)
      await (await audit)?.record(entry)
    },
    status: async () => {
      const damages = content.quarantine.list()
      return {
        running: false,
        storage: { ...location, ...(await storage.usage()) },
        scrub: { ...(await loadScrubPosition(storage)), damaged: damages.length, quarantinedBytes: content.quarantine.bytes, damages }
      }
    },
    close,
    [Symbol.asyncDispose]: close
  }
}

async function openAuditFile({ log }: Config): Promise<Audit | undefined> {
  if (log.audit === 'stdout') return undefined
  return await Audit.open(log.audit, { log: createLog('silent'), onLost: () => {} })
}

async function checkOwner(root: string, notRunning: string): Promise<void> {
  const found = await stat(root).catch(() => undefined)
  if (!found?.isDirectory()) throw new Error(`${notRunning}, and there is no directory ${root}`)
  // The owner could not write to files that root creates.
  if (process.getuid?.() === 0 && found.uid !== 0)
    throw new Error(`${notRunning}; to work on ${root} without one, run this as its owner, uid ${found.uid}`)
}
