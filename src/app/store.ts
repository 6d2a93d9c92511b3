import type { Storage } from '../../storage/storage.ts'
import { LocalSink } from '../backend/local-sink.ts'
import { cacheShares } from '../backend/shares.ts'
import { type Content, openContent } from '../content/content.ts'
import { Fills, type NoFillReason } from '../content/fill/fills.ts'
import type { CacheShares } from '../content/fill/shares.ts'
import { Capacity, freeSpaceOf } from '../content/gc/capacity.ts'
import { createYield } from '../content/gc/yield.ts'
import type { Sink } from '../oci/sink.ts'
import { logFill } from '../telemetry/cache.ts'
import { countRemoval } from '../telemetry/gc.ts'
import type { AppContext } from './context.ts'
import { type OpenedStorage, openStorage } from './open-storage.ts'
import { createPinReader, type PinReader } from './pin-file.ts'
import type { RateLimits } from './rate-limits.ts'

/** The storage, the content in it, and the fills of the cache. */
export interface Store extends AsyncDisposable {
  readonly opened: OpenedStorage
  readonly storage: Storage
  readonly content: Content
  /** Takes pushes, and finds upload sessions that began before a switch of modes. */
  readonly sink: Sink
  readonly fills: Fills
  readonly pins: PinReader
}

/** Opens the storage of the configuration. Fills evict cached content when they need capacity. */
export async function openStore(context: AppContext, rates: Pick<RateLimits, 'writing'>): Promise<Store> {
  const { config, metrics, log } = context
  const opened = await openStorage(config(), log, rates)
  const { storage } = opened
  await using onFailure = new AsyncDisposableStack()
  onFailure.defer(() => storage.close())
  const reportDamage = (key: string, reason: string) => {
    metrics.damaged.inc()
    log.error({ key, reason }, 'stored content is damaged')
  }
  const content = openContent(storage, reportDamage, { metadataTtlMs: config().cache.metadataTTL })
  const pins = createPinReader(() => config().cache, log)
  const shares = cacheShares(config)
  const capacity = await createCapacity(context, { storage, content, pins, shares })
  const onNone = (reason: NoFillReason) => metrics.fillsRefused.inc({ reason })
  const fills = new Fills(storage, content.commit, event => logFill(event, metrics, log), { capacity, shares, onNone })
  onFailure.move()
  return {
    opened,
    storage,
    content,
    sink: new LocalSink(content, config().limits),
    fills,
    pins,
    [Symbol.asyncDispose]: async () => {
      await fills.close()
      await storage.close()
    }
  }
}

// A fill waits for the eviction, so it does not yield to requests.
async function createCapacity(
  { config, stopping, metrics, log }: AppContext,
  { storage, content, pins, shares }: Pick<Store, 'storage' | 'content' | 'pins'> & { shares: CacheShares }
): Promise<Capacity> {
  return new Capacity({
    storage,
    content,
    shares,
    space: await freeSpaceOf(storage),
    policy: async () => ({ pinned: await pins(), grace: config().gc.grace }),
    yielder: createYield(stopping, () => false),
    onRemove: removal => countRemoval(removal, metrics, log)
  })
}
