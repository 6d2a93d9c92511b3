import type { Content } from '../content/content.ts'
import type { KnownDamage } from '../content/quarantine.ts'
import type { Digest } from '../oci/digest.ts'
import { isName, type Name } from '../oci/name.ts'
import { checkRepository } from './check.ts'
import { atMostEvery, countEvent, type DamageEvent, type ScrubEvent, type ScrubTotals } from './events.ts'
import { type ReadRate, unlimited } from './read-rate.ts'
import { linksOf, ownersOf, storedBytes, type Tree } from './tree.ts'
import { createReadBuffer, type VerifyDeps, verifyBlob } from './verify-blob.ts'

/** What is scrubbed, and how. */
export interface ScrubOptions {
  signal: AbortSignal
  /** The repository; everything if it is absent. */
  name?: Name
  readRate?: ReadRate
  /**
   * Where an interrupted scrub of everything stopped: its last digest, how many bytes it had read, and when it began.
   */
  after?: { digest: string; bytes: number; began: number }
  /** Called after each digest. */
  done?: (digest: Digest, totals: Readonly<ScrubTotals>) => void
  /** Bytes of all blobs, if they have been added up already. */
  total?: number
}

/** There is no such repository. */
export class UnknownRepository extends Error {
  override readonly name = 'UnknownRepository'
}

/** Parses the name of a repository; throws `UnknownRepository` for a text that is none. */
export function parseRepository(text: string): Name {
  if (isName(text)) return text
  throw new UnknownRepository(`${JSON.stringify(text.slice(0, 160))} is not the name of a repository`)
}

const progressIntervalMs = 500

/**
 * Verifies blobs, then checks all that refers to them. Damaged bytes are quarantined, and missing for clients from then
 * on; what can be derived from manifests is repaired; all else is reported. The last event is `done`.
 */
export async function* scrub(tree: Tree, options: ScrubOptions): AsyncGenerator<ScrubEvent, void> {
  const { signal, name, after } = options
  if (name !== undefined && !(await tree.content.names.has(name))) throw new UnknownRepository(`there is no repository ${name}`)
  const totals: ScrubTotals = { blobs: 0, bytes: after?.bytes ?? 0, repositories: 0, damaged: 0, mended: 0, warnings: 0 }
  for await (const event of phases(tree, options, totals)) {
    countEvent(totals, event)
    yield event
  }
  signal.throwIfAborted()
  yield { type: 'done', ...totals }
}

async function* phases(tree: Tree, options: ScrubOptions, totals: ScrubTotals): AsyncGenerator<ScrubEvent, void> {
  const { signal, name } = options
  const digests = name === undefined ? digestsAfter(tree, options.after?.digest) : digestsOf(tree, name)
  const total = name === undefined ? { total: options.total ?? (await storedBytes(tree.storage, signal)) } : {}
  const began = options.after?.began ?? tree.now()
  yield* verifyAll(tree, digests, options, { totals, total })
  for await (const each of name === undefined ? tree.content.names.all() : [name]) {
    totals.repositories++
    for await (const event of checkRepository(tree, each, signal)) {
      if (event.kind !== 'link' || !wasReported(tree.content, event.digest, began)) yield event
    }
  }
  if (name === undefined) await forgetUnlinkedDamage(tree.content, signal)
}

// A link to bytes that this scrub has quarantined is no second finding.
function wasReported({ quarantine }: Content, digest: Digest | undefined, began: number): boolean {
  const known = digest && quarantine.find(digest)
  return known !== undefined && known.kept !== 'nowhere' && known.since >= began
}

async function* digestsAfter({ content }: Tree, after: string | undefined): AsyncGenerator<Digest, void> {
  for await (const { digest } of content.coordination.listing.blobs(after)) yield digest
}

async function* digestsOf({ storage }: Tree, name: Name): AsyncGenerator<Digest, void> {
  for await (const { target } of linksOf(storage, name)) if (target) yield target
}

async function* verifyAll(
  { content, storage, now }: Tree,
  digests: AsyncIterable<Digest>,
  { signal, readRate = unlimited, done }: ScrubOptions,
  { totals, total }: { totals: ScrubTotals; total: { total?: number } }
): AsyncGenerator<ScrubEvent, void> {
  const progressIsDue = atMostEvery(progressIntervalMs, now)
  const ended = new AbortController()
  const deps: VerifyDeps = {
    storage,
    quarantine: content.quarantine,
    readRate,
    signal: AbortSignal.any([signal, ended.signal]),
    buffer: createReadBuffer(),
    onRead: bytes => {
      totals.bytes += bytes
    }
  }
  const progress = () => ({ type: 'progress', done: totals.bytes, ...total, unit: 'bytes' }) as const
  try {
    for await (const digest of digests) {
      const work = verifyBlob(digest, deps)
      // A blob of many gigabytes takes long: report progress meanwhile.
      while (!(await settledWithin(work, progressIntervalMs))) yield progress()
      const finding = await work
      if (finding.state !== 'absent') totals.blobs++
      if (finding.state === 'damaged') yield await damagedEvent(content, finding.damage, signal)
      if (finding.state === 'unknown')
        yield { type: 'damaged', kind: 'blob', digest, names: [], reason: finding.reason, action: 'reported' }
      done?.(digest, totals)
      if (progressIsDue()) yield progress()
    }
    yield progress()
  } finally {
    // A consumer that returns early does not wait for the rest of a blob.
    ended.abort()
  }
}

async function damagedEvent(content: Content, { digest, reason, kept }: KnownDamage, signal: AbortSignal): Promise<DamageEvent> {
  const { kind, names } = await ownersOf(content, digest, signal)
  return { type: 'damaged', kind, digest, names, reason, action: kept === 'quarantine' ? 'quarantined' : 'reported' }
}

/** Forgets known damage that no repository has a link to. */
export async function forgetUnlinkedDamage(content: Content, signal: AbortSignal): Promise<void> {
  for (const { digest } of content.quarantine.list()) {
    if ((await ownersOf(content, digest, signal)).names.length === 0) await content.quarantine.forget(digest)
  }
}

async function settledWithin(work: Promise<unknown>, ms: number): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<false>(resolve => {
    timer = setTimeout(() => resolve(false), ms)
  })
  try {
    return await Promise.race([work.then(() => true), late])
  } finally {
    clearTimeout(timer)
  }
}
