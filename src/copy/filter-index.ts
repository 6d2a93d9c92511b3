import { isWantedChild } from '../oci/children.ts'
import type { Descriptor } from '../oci/descriptor.ts'
import { algorithmOf, type Digest, digestOf } from '../oci/digest.ts'
import type { ManifestNode } from '../oci/graph.ts'

/**
 * An index without the children for other platforms, and with the descriptors of those of its children that were
 * written anew themselves. Undefined where nothing is to be changed. Everything else in the document stays.
 */
export function filterIndex(
  { bytes, parsed, descriptor }: ManifestNode,
  platforms: readonly string[],
  rewritten: ReadonlyMap<Digest, Descriptor>
): { bytes: Uint8Array; descriptor: Descriptor } | undefined {
  const children = parsed?.manifests ?? []
  const isKept = (at: number) => children[at] !== undefined && isWantedChild(children[at], platforms)
  if (children.every(({ digest }, at) => isKept(at) && !rewritten.has(digest))) return undefined
  // That it is an object with a list of objects was checked when it was parsed.
  const json = JSON.parse(Buffer.from(bytes).toString()) as { manifests: Record<string, unknown>[] }
  const manifests = json.manifests.flatMap((entry, at) => {
    const { digest, size } = rewritten.get(children[at]?.digest ?? descriptor.digest) ?? {}
    return isKept(at) ? [digest === undefined ? entry : { ...entry, digest, size }] : []
  })
  const filtered = Buffer.from(JSON.stringify({ ...json, manifests }))
  const digest = digestOf(filtered, algorithmOf(descriptor.digest))
  return { bytes: filtered, descriptor: { ...descriptor, digest, size: filtered.length } }
}
