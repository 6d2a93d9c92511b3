import type { Content } from '../content/content.ts'
import type { KnownDamage } from '../content/quarantine.ts'
import type { Digest } from '../oci/digest.ts'
import { isName, type Name } from '../oci/name.ts'
import { checkRepository } from './check.ts'
import { atMostEvery, countEvent, type Damaged, type ScrubEvent, type ScrubTotals } from './events.ts'
import { type ReadRate, unlimited } from './read-rate.ts'
import { linksOf, ownersOf, storedBytes, type Tree } from './tree.ts'
import { createReadBuffer, type VerifyDeps, verifyBlob } from './verify-blob.ts'

/** Which part of the tree is scrubbed, and how. */
export interface ScrubOptions {
  signal: AbortSignal
  /** All of the tree unless it is given. */
  name?: Name
  readRate?: ReadRate
  /** Where a former scrub of all of the tree stopped: the last digest that it had done, how many bytes these were, and when it began. */
  after?: { digest: string; bytes: number; began: number }
  /** Told of each digest that is done. */
  done?: (digest: Digest, totals: Readonly<ScrubTotals>) => void
  /** Bytes of all blobs, if somebody has added them up already. */
  total?: number
}

/** The repository that was named is not there. */
export class UnknownRepository extends Error {
  override readonly name = 'UnknownRepository'
}

/** The repository that a text names. */
export function parseRepository(text: string): Name {
  if (isName(text)) return text
  throw new UnknownRepository(`${JSON.stringify(text.slice(0, 160))} is not the name of a repository`)
}

const progressInterval = 500

/**
 * Reads blobs and compares their digests, then looks at all that refers to them. Wrong bytes are set aside and answered as missing from then on; what can be derived is
 * mended; all else is told. The last event is `done`.
 */
export async function* scrub(tree: Tree, options: ScrubOptions): AsyncGenerator<ScrubEvent, void> {
  const { signal, name, after } = options
  if (name !== undefined && !(await tree.content.names.has(name))) throw new UnknownRepository(`there is no repository ${name}`)
  const totals: ScrubTotals = { blobs: 0, bytes: after?.bytes ?? 0, repositories: 0, damaged: 0, mended: 0, warnings: 0 }
  for await (const event of parts(tree, options, totals)) {
    countEvent(totals, event)
    yield event
  }
  signal.throwIfAborted()
  yield { type: 'done', ...totals }
}

async function* parts(tree: Tree, options: ScrubOptions, totals: ScrubTotals): AsyncGenerator<ScrubEvent, void> {
  const { signal, name } = options
  const digests = name === undefined ? digestsAfter(tree, options.after?.digest) : digestsOf(tree, name)
  const total = name === undefined ? { total: options.total ?? (await storedBytes(tree.storage, signal)) } : {}
  const began = options.after?.began ?? tree.now()
  yield* readAll(tree, digests, options, { totals, total })
  for await (const each of name === undefined ? tree.content.names.all() : [name]) {
    totals.repositories++
    for await (const event of checkRepository(tree, each, signal)) {
      if (event.kind !== 'link' || !wasTold(tree.content, event.digest, began)) yield event
    }
  }
  if (name === undefined) await forgetUnneeded(tree.content, signal)
}

// Bytes that were set aside a moment ago are no second fault.
function wasTold({ quarantine }: Content, digest: Digest | undefined, began: number): boolean {
  const known = digest && quarantine.find(digest)
  return known !== undefined && known.kept !== 'nowhere' && known.since >= began
}

async function* digestsAfter({ content }: Tree, after: string | undefined): AsyncGenerator<Digest, void> {
  for await (const { digest } of content.coordination.listing.blobs(after)) yield digest
}

async function* digestsOf({ storage }: Tree, name: Name): AsyncGenerator<Digest, void> {
  for await (const { target } of linksOf(storage, name)) if (target) yield target
}

async function* readAll(
  { content, storage, now }: Tree,
  digests: AsyncIterable<Digest>,
  { signal, readRate: pace = unlimited, done }: ScrubOptions,
  { totals, total }: { totals: ScrubTotals; total: { total?: number } }
): AsyncGenerator<ScrubEvent, void> {
  const due = atMostEvery(progressInterval, now)
  const ended = new AbortController()
  const lab: VerifyDeps = {
    storage,
    quarantine: content.quarantine,
    pace,
    signal: AbortSignal.any([signal, ended.signal]),
    buffer: createReadBuffer(),
    read: bytes => {
      totals.bytes += bytes
    }
  }
  const progress = () => ({ type: 'progress', done: totals.bytes, ...total, unit: 'bytes' }) as const
  try {
    for await (const digest of digests) {
      const work = verifyBlob(digest, lab)
      // A blob of many gigabytes takes long: how far it is is told meanwhile.
      while (!(await settledWithin(work, progressInterval))) yield progress()
      const finding = await work
      if (finding.state !== 'absent') totals.blobs++
      if (finding.state === 'damaged') yield await damagedBytes(content, finding.damage, signal)
      if (finding.state === 'unknown')
        yield { type: 'damaged', kind: 'blob', digest, names: [], reason: finding.reason, action: 'reported' }
      done?.(digest, totals)
      if (due()) yield progress()
    }
    yield progress()
  } finally {
    // Whoever listens no longer does not want the rest of a blob.
    ended.abort()
  }
}

async function damagedBytes(content: Content, { digest, reason, kept }: KnownDamage, signal: AbortSignal): Promise<Damaged> {
  const { kind, names } = await ownersOf(content, digest, signal)
  return { type: 'damaged', kind, digest, names, reason, action: kept === 'quarantine' ? 'quarantined' : 'reported' }
}

/** Forgets damage that no repository has a link to any more. */
export async function forgetUnneeded(content: Content, signal: AbortSignal): Promise<void> {
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
