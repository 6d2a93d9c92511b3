import { stat } from 'node:fs/promises'
import type { Config } from '../../config/schema.ts'
import { LockedError } from '../../storage/fs/lock.ts'
import type { Storage } from '../../storage/storage.ts'
import { createCoordination } from '../content/shared/coordination.ts'
import { LeaseHeldError } from '../content/shared/removal-lease.ts'
import type { StorageCopyEvent } from '../operations/copy-storage.ts'
import { copyStorage } from '../operations/operations.ts'
import { type OpenedStorage, openStorage } from './open-storage.ts'

/**
 * Copies everything from the storage of one configuration to that of another. Both directories are locked, so that no
 * registry may run on them; on a bucket the removal lease is held, so that no other process removes anything meanwhile.
 */
export async function* copyBetween(from: Config, to: Config, signal: AbortSignal): AsyncGenerator<StorageCopyEvent, void> {
  const { s3, filesystem } = from.storage
  if (!s3 && !(await stat(filesystem.root).catch(() => undefined))?.isDirectory())
    throw new Error(`there is no directory ${filesystem.root}`)
  if (identityOf(from) === identityOf(to)) throw new Error(`both configurations name the same storage: ${identityOf(from)}`)
  await using stack = new AsyncDisposableStack()
  const stores = []
  for (const config of [from, to]) {
    const { storage } = await open(config)
    stack.defer(() => storage.close())
    stack.defer(await acquireRemovalLease(storage))
    stores.push(storage)
  }
  const [source, target] = stores
  if (source && target) yield* copyStorage.run({}, { from: source, to: target }, signal)
}

async function open(config: Config): Promise<OpenedStorage> {
  const print = (_fields: object | string, text?: string) => void process.stderr.write(`${text ?? ''}\n`)
  return openStorage(config, { warn: print, error: print, info: print }, { writing: undefined }).catch(error => {
    throw error instanceof LockedError ? new Error(`${error.message}: stop it, and run this again`) : error
  })
}

// The lease of a process that was killed lasts until it expires.
async function acquireRemovalLease(storage: Storage): Promise<() => Promise<void>> {
  return createCoordination(storage)
    .acquireRemovalLease()
    .catch(error => {
      if (!(error instanceof LeaseHeldError)) throw error
      throw new Error('another registry is removing from the bucket, or a command on it was killed just now: run this again in a minute', {
        cause: error
      })
    })
}

function identityOf({ storage: { s3, filesystem } }: Config): string {
  return s3 ? `${s3.endpoint ?? s3.region}, bucket ${s3.bucket}, prefix ${s3.prefix ?? ''}` : filesystem.root
}
