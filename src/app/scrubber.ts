import type { Clock } from '../../storage/clock.ts'
import { createMutex } from '../../storage/keyed-mutex.ts'
import type { Content } from '../content/content.ts'
import type { DamageEvent, ScrubDone, ScrubEvent } from '../operations/events.ts'
import { forgetUnlinkedDamage } from '../operations/scrub.ts'
import { ScrubCycles } from '../operations/scrub-cycles.ts'
import type { Tree } from '../operations/tree.ts'
import type { Logger } from '../telemetry/log.ts'
import type { Metrics } from '../telemetry/metrics.ts'
import { startInterval } from './schedule.ts'

/** What the scrub in the background needs of the process. */
export interface ScrubberDeps {
  tree: Tree
  /** The length of a scrub cycle, in ms. */
  every: () => number
  busy: () => boolean
  /** Fetches damaged content from upstream; resolves to whether that succeeded. */
  refetch: (damaged: DamageEvent, signal: AbortSignal) => Promise<boolean>
  metrics: Metrics
  log: Logger
  clock?: Clock
}

/** The scrub in the background of a running process. */
export interface Scrubber {
  status(): object
  /** Logs and counts what a scrub found, also one that a command started. */
  report(event: ScrubEvent): void
  completed(began: number, done: ScrubDone): Promise<void>
  stop(): Promise<void>
}

const upkeepIntervalMs = 10 * 60_000
// Long enough for an operator to examine the bytes after a weekend.
const retentionMs = 7 * 24 * 3_600_000
const maxDamages = 100

/** Starts the scrub. Its findings go to log, metrics and status. */
export async function startScrubber({ tree, every, busy, refetch, metrics, log, clock }: ScrubberDeps): Promise<Scrubber> {
  const { quarantine } = tree.content
  await quarantine.load().catch(error => log.error({ err: error }, 'the records of damaged content cannot be read'))
  quarantine.watch(({ digest, since }) => log.info({ digest, since: iso(since) }, 'damaged content was healed'))
  const stopping = new AbortController()
  const { signal } = stopping
  const refetches = createMutex()
  const report = (event: ScrubEvent) => {
    logScrubEvent(event, metrics, log)
    if (event.type === 'damaged' && event.action === 'quarantined') {
      void refetches(() => heal(event, refetch, signal, log))
    }
  }
  const failed = (error: Error) => log.error({ err: error }, 'the scrub failed; it goes on in a while')
  const cycles = new ScrubCycles({ tree, everyMs: every, busy, report, failed, ...(clock ? { clock } : {}) })
  watchScrubbing(metrics, cycles, tree.content)
  const running = cycles.run(signal)
  const stopUpkeep = startUpkeep(tree, signal, { log, ...(clock ? { clock } : {}) })
  return {
    status: () => statusOf(cycles, tree.content),
    report,
    completed: (began, done) => cycles.completed(began, done),
    stop: async () => {
      stopping.abort()
      await Promise.all([running, stopUpkeep(), refetches(async () => {})])
    }
  }
}

async function heal(damaged: DamageEvent, refetch: ScrubberDeps['refetch'], signal: AbortSignal, log: Logger): Promise<void> {
  if (signal.aborted) return
  const { digest, names } = damaged
  await refetch(damaged, signal).catch(error => {
    if (!signal.aborted)
      log.warn({ digest, names, reason: error.message }, 'damaged content could not be fetched again; the next pull retries')
  })
}

function logScrubEvent(event: ScrubEvent, metrics: Metrics, log: Logger): void {
  const { type, ...rest } = event
  if (type === 'done') log.info(rest, 'a scrub is done')
  else if (type === 'warning') log.debug(rest, 'a reference leads to content that is not here')
  else if (type === 'damaged') {
    const { action } = event
    if (action === 'removed' || action === 'rebuilt') return void log.warn(rest, 'the stored tree was repaired')
    metrics.damaged.inc()
    log.error(rest, 'stored content is damaged')
  }
}

// Removes quarantined bytes after their retention, and forgets known-bad digests that are no longer referenced.
function startUpkeep(tree: Tree, signal: AbortSignal, { log, clock }: { log: Logger; clock?: Clock }): () => Promise<void> {
  const { content, now } = tree
  const upkeep = async () => {
    try {
      const expired = await content.quarantine.expire(now() - retentionMs)
      if (expired > 0) log.info({ expired }, 'quarantined bytes were removed after their retention')
      await forgetUnlinkedDamage(content, signal)
    } catch (error) {
      if (!signal.aborted) log.error({ err: error }, 'the upkeep of the quarantine failed')
    }
  }
  return startInterval(upkeepIntervalMs, upkeep, clock)
}

/** What `/status` says of the scrub. */
function statusOf(cycles: ScrubCycles, { quarantine }: Content): object {
  const { done, round, last } = cycles.status
  const damaged = quarantine.list()
  return {
    done,
    ...(round ? { round: { ...round, began: iso(round.began) } } : {}),
    ...(last ? { last: { ...last, began: iso(last.began), ended: iso(last.ended) } } : {}),
    damaged: damaged.length,
    quarantinedBytes: quarantine.bytes,
    ...(damaged.length > 0 ? { damages: damaged.slice(0, maxDamages).map(each => ({ ...each, since: iso(each.since) })) } : {})
  }
}

function watchScrubbing(metrics: Metrics, cycles: ScrubCycles, { quarantine }: Content): void {
  metrics.collect('scrubPosition', gauge => gauge.set(cycles.status.done))
  metrics.collect('scrubLastComplete', gauge => gauge.set((cycles.status.last?.ended ?? 0) / 1_000))
  metrics.collect('scrubFindings', gauge => gauge.set(cycles.status.last?.damaged ?? 0))
  metrics.collect('damagedBlobs', gauge => gauge.set(quarantine.list().length))
  metrics.collect('quarantineBytes', gauge => gauge.set(quarantine.bytes))
}

const iso = (ms: number): string => new Date(ms).toISOString()
