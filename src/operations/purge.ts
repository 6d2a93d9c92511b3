import type { Storage } from '../../storage/storage.ts'
import type { Content } from '../content/content.ts'
import * as keys from '../content/keys.ts'
import type { Digest } from '../oci/digest.ts'
import { readManifest } from '../oci/manifest.ts'
import { isTag, type Name, type Tag } from '../oci/name.ts'
import type { PurgeTarget } from './purge-target.ts'
import { linksBelow } from './tree.ts'

/** What was removed from a repository. */
export interface PurgeRemoval {
  type: 'removed'
  kind: 'tag' | 'manifest' | 'blob'
  name: Name
  tag?: Tag
  digest?: Digest
}

/** The end of a purge; garbage collection removes the bytes, unless other repositories have them. */
export interface PurgeDone {
  type: 'done'
  tags: number
  manifests: number
  blobs: number
}

/** What a purge reports. */
export type PurgeEvent = PurgeRemoval | PurgeDone

/** The target does not exist. */
export class NothingToPurge extends Error {
  override readonly name = 'NothingToPurge'
}

/** Part of the target was pushed, which makes it the only copy, and its removal was not confirmed. */
export class PushedContent extends Error {
  override readonly name = 'PushedContent'

  constructor(count: number) {
    super(
      `${count === 1 ? 'one object was' : `${count} objects were`} pushed and cannot be fetched again; --yes removes what was pushed too`
    )
  }
}

interface PurgeDeps {
  content: Content
  storage: Storage
}

type Part = Omit<PurgeRemoval, 'type'>

/**
 * Removes the target, whether it was cached or pushed. Throws `PushedContent`, with nothing removed, if part of it was
 * pushed and `pushed` is `refused`.
 */
export async function* purge(
  target: PurgeTarget,
  deps: PurgeDeps,
  { pushed, signal }: { pushed: 'refused' | 'included'; signal: AbortSignal }
): AsyncGenerator<PurgeEvent, void> {
  const { content } = deps
  let [found, pushedCount] = [0, 0]
  for await (const part of partsOf(target, deps)) {
    signal.throwIfAborted()
    found++
    if (pushed === 'refused' && (await isPushed(content, part))) pushedCount++
  }
  if (pushedCount > 0) throw new PushedContent(pushedCount)
  if (found === 0 && !(isWhole(target) && (await content.names.has(target.name)))) throw new NothingToPurge(`there is no ${textOf(target)}`)
  const done: PurgeDone = { type: 'done', tags: 0, manifests: 0, blobs: 0 }
  // In this order: tags, manifests, blobs. So no link dangles if the purge is interrupted.
  for await (const part of partsOf(target, deps)) {
    signal.throwIfAborted()
    for (const each of await remove(content, part)) {
      done[`${each.kind}s`]++
      yield { type: 'removed', ...each }
    }
  }
  if (isWhole(target)) await content.commit.removeRepository(target.name)
  yield done
}

const isWhole = ({ tag, digest }: PurgeTarget): boolean => tag === undefined && digest === undefined

const textOf = ({ name, tag, digest }: PurgeTarget): string =>
  tag !== undefined ? `tag ${tag} in ${name}` : digest !== undefined ? `${digest} in ${name}` : `repository ${name}`

async function* partsOf({ name, tag, digest }: PurgeTarget, { content, storage }: PurgeDeps): AsyncGenerator<Part, void> {
  if (tag !== undefined) {
    if (await content.tags.resolve(name, tag)) yield { kind: 'tag', name, tag }
  } else if (digest !== undefined) {
    if (await content.manifests.linked(name, digest)) yield { kind: 'manifest', name, digest }
    if (await content.blobs.linked(name, digest)) yield { kind: 'blob', name, digest }
  } else {
    for await (const entry of storage.walk(keys.tags(name))) if (isTag(entry.name)) yield { kind: 'tag', name, tag: entry.name }
    for await (const link of linksBelow(storage, keys.revisions(name))) yield { kind: 'manifest', name, digest: link.digest }
    for await (const link of linksBelow(storage, keys.layers(name))) yield { kind: 'blob', name, digest: link.digest }
  }
}

async function isPushed({ provenance }: Content, { name, tag, digest }: Part): Promise<boolean> {
  if (tag !== undefined) return (await provenance.getTag(name, tag)) === undefined
  return digest !== undefined && (await provenance.get(name, digest)) === undefined
}

async function remove({ commit, manifests }: Content, { kind, name, tag, digest }: Part): Promise<Part[]> {
  if (tag !== undefined) {
    const old = await commit.removeTag(name, tag)
    return old === undefined ? [] : [{ kind: 'tag', name, tag, digest: old }]
  }
  if (digest === undefined) return []
  if (kind === 'blob') {
    await commit.unlinkBlob(name, digest)
    return [{ kind, name, digest }]
  }
  const manifest = await manifests.get(name, digest)
  const subject = manifest && readManifest(manifest.bytes)?.subject?.digest
  const tags = await commit.removeManifest(name, digest, subject)
  return [...tags.map(each => ({ kind: 'tag', name, tag: each, digest }) as const), { kind, name, digest }]
}
