import * as keys from '../content/keys.ts'
import { isNonDistributable } from '../oci/descriptor.ts'
import type { Digest } from '../oci/digest.ts'
import { type ParsedManifest, readManifest } from '../oci/manifest.ts'
import { isTag, type Name } from '../oci/name.ts'
import { checkIndexed, checkReferrers } from './check-referrers.ts'
import { checkUploads } from './check-uploads.ts'
import type { Damaged, Warned } from './events.ts'
import { type FoundLink, linksOf, readLink, type Tree } from './tree.ts'

/** Looks at everything that `name` has but the bytes themselves. What can be derived is mended, the rest is told. */
export async function* checkRepository(tree: Tree, name: Name, signal: AbortSignal): AsyncGenerator<Damaged | Warned, void> {
  for await (const link of linksOf(tree.storage, name)) {
    signal.throwIfAborted()
    yield* checkLink(tree, name, link)
    if (link.kind === 'manifest' && link.target) yield* checkManifest(tree, name, link.digest, link.target)
  }
  yield* checkTags(tree, name, signal)
  yield* checkReferrers(tree, name, signal)
  yield* checkUploads(tree, name, signal)
}

async function* checkLink(
  { content, storage }: Tree,
  name: Name,
  { digest, target, kind }: FoundLink & { kind: 'blob' | 'manifest' }
): AsyncGenerator<Damaged | Warned, void> {
  const found = { kind: 'link', digest, names: [name] } as const
  if (!target) yield { type: 'damaged', ...found, reason: 'the link holds no digest, or another one', action: 'reported' }
  const known = target && content.quarantine.has(target)
  if (!target || (!known && (await storage.stat(keys.blob(target))))) return
  const reason = known ? `the bytes of the ${kind} are known to be damaged or gone` : `the ${kind} has no bytes`
  // What was cached comes back with the next pull.
  if ((await content.provenance.get(name, digest)) !== undefined)
    yield { type: 'warning', ...found, reason: `${reason}; the next pull fetches them` }
  else if (known || (await content.quarantine.addMissing(target, reason))) yield { type: 'damaged', ...found, reason, action: 'reported' }
}

// What was pushed long ago may be larger than what is accepted now; past this it is no manifest.
const longest = 8 * 1024 * 1024

async function* checkManifest(tree: Tree, name: Name, digest: Digest, target: Digest): AsyncGenerator<Damaged | Warned, void> {
  // Past the memory of manifests; that the bytes are right is the other half's business.
  const bytes = await tree.storage.get(keys.blob(target), longest).catch(() => undefined)
  const manifest = bytes && readManifest(bytes)
  if (!manifest) return
  yield* checkParts(tree, name, digest, manifest)
  if (manifest.subject) yield* checkIndexed(tree, name, manifest.subject.digest, digest)
}

// A cache holds the parts that were pulled, and what was pushed may leave out platforms: a missing part is no damage by itself.
async function* checkParts(
  { content, storage }: Tree,
  name: Name,
  digest: Digest,
  { manifests, blobs }: ParsedManifest
): AsyncGenerator<Warned, void> {
  if ((await content.provenance.get(name, digest)) !== undefined) return
  const parts = [
    ...manifests.map(each => ({ kind: 'manifest', digest: each.digest, link: keys.revision(name, each.digest) }) as const),
    ...blobs
      .filter(each => !isNonDistributable(each.mediaType))
      .map(each => ({ kind: 'blob', digest: each.digest, link: keys.layer(name, each.digest) }) as const)
  ]
  for (const { kind, digest: part, link } of parts) {
    if (await storage.stat(link)) continue
    yield { type: 'warning', kind, digest: part, names: [name], reason: `${digest} names it, but it is not here` }
  }
}

async function* checkTags({ storage }: Tree, name: Name, signal: AbortSignal): AsyncGenerator<Damaged, void> {
  for await (const { name: tag, kind } of storage.walk(keys.tags(name))) {
    signal.throwIfAborted()
    if (kind !== 'prefix' || !isTag(tag)) continue
    const text = await readLink(storage, keys.tag(name, tag))
    if (text === undefined) continue
    const digest = keys.digestOfPath(...split(text))
    const found = { type: 'damaged', kind: 'tag', names: [name], tag, action: 'reported' } as const
    if (!digest) yield { ...found, reason: 'the tag holds no digest' }
    // Looked at twice: whoever deletes a manifest takes its tags away first.
    else if (!(await storage.stat(keys.revision(name, digest))) && (await readLink(storage, keys.tag(name, tag))) === text)
      yield { ...found, digest, reason: 'the tag names a manifest that is not here' }
  }
}

function split(text: string): [algorithm: string, encoded: string] {
  const colon = text.indexOf(':')
  return [text.slice(0, colon), text.slice(colon + 1)]
}
