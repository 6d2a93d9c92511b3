import { threadPoolSize } from '../../config/environment.ts'
import type { Config } from '../../config/schema.ts'
import type { FilesystemOptions } from '../../storage/fs/filesystem.ts'
import type { S3Options } from '../../storage/s3/s3.ts'
import type { Storage } from '../../storage/storage.ts'
import type { Logger } from '../telemetry/log.ts'
import { openRoot } from './open-directory.ts'
import type { RateLimits } from './rate-limits.ts'

/** The storage of a configuration, and what depends on its driver. */
export interface OpenedStorage {
  storage: Storage
  /** For the log and `registry du`. */
  location: { root: string } | { bucket: string; prefix?: string; endpoint?: string }
  /** Whether calls have not returned that would keep the process from exiting. */
  hanging(): boolean
  /** Whether it does not respond at present. */
  stalled(): boolean
  /** Applies the limits of a changed configuration. */
  applyLimits(settings: Config['storage']): void
}

/** The bucket cannot be used before an operator has corrected something: the process exits instead of retrying. */
export class UnusableError extends Error {
  override readonly name = 'UnusableError'
}

/** Opens the configured storage; an error says what to do about it. */
export function openStorage(
  config: Config,
  log: Pick<Logger, 'warn' | 'error' | 'info'>,
  { writing }: Pick<RateLimits, 'writing'>
): Promise<OpenedStorage> {
  return config.storage.s3 ? openBucket(config, config.storage.s3, log, writing) : openDirectory(config.storage, log, writing)
}

type Log = Parameters<typeof openStorage>[1]

async function openDirectory(settings: Config['storage'], log: Log, writing: RateLimits['writing']): Promise<OpenedStorage> {
  const { root } = settings.filesystem
  const disk = { threadPoolSize: threadPoolSize(), onStallChange: stalledReporter(log, 'the disk') }
  const options: FilesystemOptions = { limits: settings, disk, writeRate: writing }
  const storage = await openRoot(root, log, options)
  return {
    storage,
    location: { root },
    hanging: () => storage.running > 0,
    stalled: () => storage.stalled.length > 0,
    applyLimits: next => {
      storage.limits = next
    }
  }
}

// Readers that open the same object within this time share one request.
const maxOpenTtlMs = 1_000

async function openBucket(
  { storage: settings, cache }: Config,
  s3: NonNullable<Config['storage']['s3']>,
  log: Log,
  writing: RateLimits['writing']
): Promise<OpenedStorage> {
  // Loaded only here: the SDK takes time and memory.
  const [{ S3Storage }, { HttpClient }] = await Promise.all([import('../../storage/s3/s3.ts'), import('../http/client.ts')])
  const budget = (from: Config['storage']) => (typeof from.budget === 'number' ? from.budget : undefined)
  const openTtlMs = Math.min(maxOpenTtlMs, cache.metadataTTL)
  const options: S3Options = {
    ...s3,
    createBodyClient: timeouts => new HttpClient(timeouts),
    budget: budget(settings),
    openTtlMs,
    writeRate: writing,
    onStallChange: stalledReporter(log, 'the bucket')
  }
  const storage = await S3Storage.open(options).catch(error => {
    throw (error as { permanent?: boolean }).permanent ? new UnusableError((error as Error).message, { cause: error }) : error
  })
  const { bucket, prefix, endpoint } = s3
  return {
    storage,
    location: { bucket, ...(prefix === undefined ? {} : { prefix }), ...(endpoint === undefined ? {} : { endpoint }) },
    hanging: () => false,
    stalled: () => storage.stalled.length > 0,
    applyLimits: next => {
      storage.budget = budget(next)
    }
  }
}

function stalledReporter(log: Log, what: string): (stalled: readonly string[]) => void {
  return stalled => {
    if (stalled.length > 0) log.error({ stalled }, `${what} does not respond: requests that need it are refused until it does`)
    else log.info(`${what} responds again`)
  }
}
