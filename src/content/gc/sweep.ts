import { type Digest, encodedOf } from '../../oci/digest.ts'
import type { Name } from '../../oci/name.ts'
import * as keys from '../keys.ts'
import { markConcurrentPushes } from './concurrent-pushes.ts'
import { filterRemovable } from './removals.ts'
import { type GcRun, type Removal, targetOf } from './run.ts'

// Links that one removal takes: a hold of one of them waits for all.
const linkBatch = 64

/** Removes the links of `name` to blobs that are not marked; resolves, by `stays`, to how many others there are. */
export async function* sweepLinks(run: GcRun, name: Name, stays: () => void): AsyncGenerator<Removal> {
  const { content, marked, yielder: pace, now, grace } = run
  const take = async (batch: readonly Digest[]): Promise<Removal[]> => {
    if (batch.length === 0) return []
    await markConcurrentPushes(run)
    const may = async (digest: Digest) => {
      const target = await targetOf(run, keys.layer(name, digest), digest)
      return !marked.has(digest) && (await bytesIfOld(run, [target, digest])) !== undefined
    }
    const gone = run.mode === 'tell' ? await filterRemovable(batch, may) : await content.removals.removeBlobs(name, batch, may)
    for (const digest of batch) if (!gone.includes(digest)) await keep(digest)
    return gone.map(digest => ({ type: 'remove', kind: 'link', name, digest, reason: 'unreferenced' }))
  }
  // A link that stays needs the bytes that it leads to.
  const keep = async (digest: Digest) => {
    stays()
    marked.add(await targetOf(run, keys.layer(name, digest), digest))
  }
  const batch: Digest[] = []
  for await (const { digest, modified = 0 } of content.coordination.listing.links(keys.layers(name))) {
    await pace.step()
    if (marked.has(digest) || now() - modified < grace) await keep(digest)
    else if (batch.push(digest) === linkBatch) yield* await take(batch.splice(0))
  }
  yield* await take(batch)
}

/** Removes bytes that are not marked, after no link leads to them any more. */
export async function* sweepBytes(run: GcRun): AsyncGenerator<Removal | 'shard'> {
  const { content, marked, yielder: pace, now, grace } = run
  const { size, perDirectory } = content.coordination.removalBatch
  const batch: Digest[] = []
  let shard = ''
  for await (const { digest, modified = 0 } of content.coordination.listing.blobs()) {
    await pace.step()
    const [before, here] = [shard, shardOf(digest)]
    shard = here
    if (before !== here && before !== '') {
      // On a disk these lie beside each other.
      if (perDirectory) yield* await takeBytes(run, batch.splice(0), 'unreferenced')
      yield 'shard'
    }
    if (marked.has(digest) || now() - modified < grace) continue
    if (batch.push(digest) === size) yield* await takeBytes(run, batch.splice(0), 'unreferenced')
  }
  yield* await takeBytes(run, batch, 'unreferenced')
  if (shard !== '') yield 'shard'
}

const shardOf = (digest: Digest): string => keys.blob(digest).slice(0, keys.blob(digest).lastIndexOf('/') - encodedOf(digest).length)

async function takeBytes(run: GcRun, batch: readonly Digest[], reason: Removal['reason']): Promise<Removal[]> {
  if (batch.length === 0) return []
  await markConcurrentPushes(run)
  const sizes = new Map<Digest, number>()
  const may = async (digest: Digest) => {
    const bytes = run.marked.has(digest) ? undefined : await bytesIfOld(run, [digest])
    if (bytes !== undefined) sizes.set(digest, bytes)
    return bytes !== undefined
  }
  const gone = run.mode === 'tell' ? await filterRemovable(batch, may) : await run.content.removals.removeBytes(batch, may)
  return gone.map(digest => ({ type: 'remove', kind: 'blob', digest, bytes: sizes.get(digest) ?? 0, reason }))
}

/** How many bytes lie under the first of the digests, if all are older than the grace; undefined if one is not. */
async function bytesIfOld({ storage, content, now, grace }: GcRun, digests: readonly [Digest, ...Digest[]]): Promise<number | undefined> {
  const stat = await storage.stat(keys.blob(digests[0]))
  const last = Math.max(stat?.modified ?? 0, ...digests.map(each => content.holds.renewedAt(each)))
  return now() - last >= grace ? (stat?.size ?? 0) : undefined
}
