import { type Digest, encodedOf } from '../../oci/digest.ts'
import type { Name } from '../../oci/name.ts'
import * as keys from '../keys.ts'
import { markConcurrentPushes } from './concurrent-pushes.ts'
import { filterRemovable } from './removals.ts'
import { type GcRun, type Removal, targetOf } from './run.ts'

// Links that one removal takes: a hold of one of them waits for all.
const linkBatchSize = 64

/** Removes the links of `name` to unmarked blobs; calls `onKept` for each link that is kept. */
export async function* sweepLinks(run: GcRun, name: Name, onKept: () => void): AsyncGenerator<Removal> {
  const { content, marked, yielder, now, grace } = run
  // A link that is kept needs the bytes that it leads to.
  const keep = async (digest: Digest) => {
    onKept()
    marked.add(await targetOf(run, keys.layer(name, digest), digest))
  }
  const remove = async (batch: readonly Digest[]): Promise<Removal[]> => {
    if (batch.length === 0) return []
    await markConcurrentPushes(run)
    const canRemove = async (digest: Digest) => {
      const target = await targetOf(run, keys.layer(name, digest), digest)
      return !marked.has(digest) && (await sizeIfOld(run, [target, digest])) !== undefined
    }
    const removed =
      run.mode === 'report' ? await filterRemovable(batch, canRemove) : await content.removals.removeBlobs(name, batch, canRemove)
    for (const digest of batch) if (!removed.includes(digest)) await keep(digest)
    return removed.map(digest => ({ type: 'remove', kind: 'link', name, digest, reason: 'unreferenced' }))
  }
  const batch: Digest[] = []
  for await (const { digest, modified = 0 } of content.coordination.listing.links(keys.layers(name))) {
    await yielder.step()
    if (marked.has(digest) || now() - modified < grace) await keep(digest)
    else if (batch.push(digest) === linkBatchSize) yield* await remove(batch.splice(0))
  }
  yield* await remove(batch)
}

/** Removes unmarked bytes, to which no link leads any more; yields `shard` after each directory of digests. */
export async function* sweepBytes(run: GcRun): AsyncGenerator<Removal | 'shard'> {
  const { content, marked, yielder, now, grace } = run
  const { size, perDirectory } = content.coordination.removalBatch
  const batch: Digest[] = []
  let shard = ''
  for await (const { digest, modified = 0 } of content.coordination.listing.blobs()) {
    await yielder.step()
    const [before, here] = [shard, shardOf(digest)]
    shard = here
    if (before !== here && before !== '') {
      if (perDirectory) yield* await removeBytes(run, batch.splice(0))
      yield 'shard'
    }
    if (marked.has(digest) || now() - modified < grace) continue
    if (batch.push(digest) === size) yield* await removeBytes(run, batch.splice(0))
  }
  yield* await removeBytes(run, batch)
  if (shard !== '') yield 'shard'
}

const shardOf = (digest: Digest): string => keys.blob(digest).slice(0, keys.blob(digest).lastIndexOf('/') - encodedOf(digest).length)

async function removeBytes(run: GcRun, batch: readonly Digest[]): Promise<Removal[]> {
  if (batch.length === 0) return []
  await markConcurrentPushes(run)
  const sizes = new Map<Digest, number>()
  const canRemove = async (digest: Digest) => {
    const size = run.marked.has(digest) ? undefined : await sizeIfOld(run, [digest])
    if (size !== undefined) sizes.set(digest, size)
    return size !== undefined
  }
  const removed = run.mode === 'report' ? await filterRemovable(batch, canRemove) : await run.content.removals.removeBytes(batch, canRemove)
  return removed.map(digest => ({ type: 'remove', kind: 'blob', digest, bytes: sizes.get(digest) ?? 0, reason: 'unreferenced' }))
}

/** The bytes under the first of the digests, if all are older than the grace period; undefined if one is not. */
async function sizeIfOld({ storage, content, now, grace }: GcRun, digests: readonly [Digest, ...Digest[]]): Promise<number | undefined> {
  const stat = await storage.stat(keys.blob(digests[0]))
  const last = Math.max(stat?.modified ?? 0, ...digests.map(each => content.holds.renewedAt(each)))
  return now() - last >= grace ? (stat?.size ?? 0) : undefined
}
