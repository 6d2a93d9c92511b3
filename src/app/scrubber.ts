import { createMutex } from '../../storage/keyed-mutex.ts'
import type { Content } from '../content/content.ts'
import type { Damaged, ScrubDone, ScrubEvent } from '../operations/events.ts'
import { forgetUnneeded } from '../operations/scrub.ts'
import { ScrubCycles } from '../operations/scrub-cycles.ts'
import type { Tree } from '../operations/tree.ts'
import type { Logger } from '../telemetry/log.ts'
import type { Metrics } from '../telemetry/metrics.ts'

/** What the background check needs of the process. */
export interface ScrubberDeps {
  tree: Tree
  /** Within how many ms everything is to be read once. */
  every: () => number
  busy: () => boolean
  /** Fetches what was found to be damaged; resolves to whether it could. */
  refetch: (damaged: Damaged, signal: AbortSignal) => Promise<boolean>
  metrics: Metrics
  log: Logger
}

/** The background check of a running process. */
export interface Scrubber {
  status(): object
  /** Tells log and metrics of what a command found. */
  report(event: ScrubEvent): void
  completed(began: number, done: ScrubDone): Promise<void>
  stop(): Promise<void>
}

const tendEvery = 10 * 60_000
// Long enough for somebody to look at the bytes after a weekend.
const keptFor = 7 * 24 * 3_600_000
const mostShown = 100

/** Starts the check of everything that is stored; what it finds goes to log, metrics and status. */
export async function startScrubber({ tree, every, busy, refetch, metrics, log }: ScrubberDeps): Promise<Scrubber> {
  const { quarantine } = tree.content
  await quarantine.load().catch(error => log.error({ err: error }, 'what is known to be damaged cannot be read'))
  quarantine.watch(({ digest, since }) => log.info({ digest, since: iso(since) }, 'damaged content was healed'))
  const stopped = new AbortController()
  const { signal } = stopped
  const refetches = createMutex()
  const told = (event: ScrubEvent) => {
    tell(event, metrics, log)
    if (event.type === 'damaged' && event.action === 'quarantined') {
      void refetches(() => heal(event, refetch, signal, log))
    }
  }
  const failed = (error: Error) => log.error({ err: error }, 'the check of stored content broke off; it goes on in a while')
  const rounds = new ScrubCycles({ tree, everyMs: every, busy, report: told, failed })
  watchScrubbing(metrics, rounds, tree.content)
  const running = rounds.run(signal)
  const tending = tend(tree, signal, log)
  return {
    status: () => statusOf(rounds, tree.content),
    report: told,
    completed: (began, done) => rounds.completed(began, done),
    stop: async () => {
      stopped.abort()
      await Promise.all([running, tending(), refetches(async () => {})])
    }
  }
}

async function heal(damaged: Damaged, refetch: ScrubberDeps['refetch'], signal: AbortSignal, log: Logger): Promise<void> {
  if (signal.aborted) return
  const { digest, names } = damaged
  await refetch(damaged, signal).catch(error => {
    if (!signal.aborted)
      log.warn({ digest, names, reason: error.message }, 'damaged content could not be fetched anew; the next pull tries again')
  })
}

function tell(event: ScrubEvent, metrics: Metrics, log: Logger): void {
  const { type, ...rest } = event
  if (type === 'done') log.info(rest, 'all of a scrub is done')
  else if (type === 'warning') log.debug(rest, 'something refers to what is not here')
  else if (type === 'damaged') {
    const { action } = event
    if (action === 'removed' || action === 'rebuilt') return void log.warn(rest, 'the tree was mended')
    metrics.damaged.inc()
    log.error(rest, 'stored content is damaged')
  }
}

// Old bytes go, and so does what nobody refers to any more.
function tend(tree: Tree, signal: AbortSignal, log: Logger): () => Promise<void> {
  const { content, now } = tree
  const mutex = createMutex()
  const timer = setInterval(() => {
    mutex(async () => {
      const expired = await content.quarantine.expire(now() - keptFor)
      if (expired > 0) log.info({ expired }, 'damaged bytes that were kept for examination were removed')
      await forgetUnneeded(content, signal)
    }).catch(error => {
      if (!signal.aborted) log.error({ err: error }, 'what is known to be damaged could not be looked after')
    })
  }, tendEvery)
  timer.unref()
  return () => {
    clearInterval(timer)
    return mutex(async () => {})
  }
}

/** What `/status` says of it. */
function statusOf(rounds: ScrubCycles, { quarantine }: Content): object {
  const { done, round, last } = rounds.status
  const damaged = quarantine.list()
  return {
    done,
    ...(round ? { round: { ...round, began: iso(round.began) } } : {}),
    ...(last ? { last: { ...last, began: iso(last.began), ended: iso(last.ended) } } : {}),
    damaged: damaged.length,
    quarantinedBytes: quarantine.bytes,
    ...(damaged.length > 0 ? { damages: damaged.slice(0, mostShown).map(each => ({ ...each, since: iso(each.since) })) } : {})
  }
}

function watchScrubbing(metrics: Metrics, rounds: ScrubCycles, { quarantine }: Content): void {
  metrics.collect('scrubPosition', gauge => gauge.set(rounds.status.done))
  metrics.collect('scrubLastComplete', gauge => gauge.set((rounds.status.last?.ended ?? 0) / 1_000))
  metrics.collect('scrubFindings', gauge => gauge.set(rounds.status.last?.damaged ?? 0))
  metrics.collect('damagedBlobs', gauge => gauge.set(quarantine.list().length))
  metrics.collect('quarantineBytes', gauge => gauge.set(quarantine.bytes))
}

const iso = (ms: number): string => new Date(ms).toISOString()
