import * as keys from '../content/keys.ts'
import { isManifestType, isNonDistributable } from '../oci/descriptor.ts'
import type { Digest } from '../oci/digest.ts'
import { partsOf } from '../oci/graph.ts'
import { type ParsedManifest, readManifest } from '../oci/manifest.ts'
import { isTag, type Name } from '../oci/name.ts'
import { checkIndexed, checkReferrers } from './check-referrers.ts'
import { checkUploads } from './check-uploads.ts'
import type { DamageEvent, WarningEvent } from './events.ts'
import { type FoundLink, linksOf, readLink, type Tree } from './tree.ts'

/**
 * Checks all content of `name` but the bytes of blobs. Repairs what can be derived from manifests, and reports the
 * rest.
 */
export async function* checkRepository(tree: Tree, name: Name, signal: AbortSignal): AsyncGenerator<DamageEvent | WarningEvent, void> {
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
): AsyncGenerator<DamageEvent | WarningEvent, void> {
  const found = { kind: 'link', digest, names: [name] } as const
  if (!target) yield { type: 'damaged', ...found, reason: 'the link holds no digest, or another one', action: 'reported' }
  const knownBad = target && content.quarantine.has(target)
  if (!target || (!knownBad && (await storage.stat(keys.blob(target))))) return
  const reason = knownBad ? `the bytes of the ${kind} are known to be damaged or missing` : `the ${kind} has no bytes`
  // The next pull brings cached content back.
  if ((await content.provenance.get(name, digest)) !== undefined)
    yield { type: 'warning', ...found, reason: `${reason}; the next pull fetches them` }
  else if (knownBad || (await content.quarantine.addMissing(target, reason)))
    yield { type: 'damaged', ...found, reason, action: 'reported' }
}

// A manifest may have been pushed while a larger one was accepted. Past this it is none.
const maxManifestBytes = 8 * 1024 * 1024

async function* checkManifest(tree: Tree, name: Name, digest: Digest, target: Digest): AsyncGenerator<DamageEvent | WarningEvent, void> {
  // Past the manifest cache. The digest of the bytes was verified with all other blobs.
  const bytes = await tree.storage.get(keys.blob(target), maxManifestBytes).catch(() => undefined)
  const manifest = bytes && readManifest(bytes)
  if (!manifest) return
  yield* checkParts(tree, name, digest, manifest)
  if (manifest.subject) yield* checkIndexed(tree, name, manifest.subject.digest, digest)
}

// A cache has the parts that were pulled, and a push may leave out platforms: a missing part alone is no damage.
async function* checkParts(
  { content, storage }: Tree,
  name: Name,
  digest: Digest,
  manifest: ParsedManifest
): AsyncGenerator<WarningEvent, void> {
  if ((await content.provenance.get(name, digest)) !== undefined) return
  for (const part of partsOf(manifest)) {
    const { digest: needed, mediaType } = part.descriptor
    if (part.role === 'subject' || isNonDistributable(mediaType)) continue
    if (part.kind === 'manifest' && (await storage.stat(keys.revision(name, needed)))) continue
    // A child of an index may be a blob, too.
    if (await storage.stat(keys.layer(name, needed))) continue
    const kind = part.kind === 'manifest' && isManifestType(mediaType) ? 'manifest' : 'blob'
    yield { type: 'warning', kind, digest: needed, names: [name], reason: `${digest} refers to it, but it is not stored` }
  }
}

async function* checkTags({ storage }: Tree, name: Name, signal: AbortSignal): AsyncGenerator<DamageEvent, void> {
  for await (const { name: tag, kind } of storage.walk(keys.tags(name))) {
    signal.throwIfAborted()
    if (kind !== 'prefix' || !isTag(tag)) continue
    const text = await readLink(storage, keys.tag(name, tag))
    if (text === undefined) continue
    const digest = keys.digestOfPath(...split(text))
    const found = { type: 'damaged', kind: 'tag', names: [name], tag, action: 'reported' } as const
    if (!digest) yield { ...found, reason: 'the tag holds no digest' }
    // Read again, since the deletion of a manifest removes its tags first.
    else if (!(await storage.stat(keys.revision(name, digest))) && (await readLink(storage, keys.tag(name, tag))) === text)
      yield { ...found, digest, reason: 'the tag refers to a manifest that is not stored' }
  }
}

function split(text: string): [algorithm: string, encoded: string] {
  const colon = text.indexOf(':')
  return [text.slice(0, colon), text.slice(colon + 1)]
}
