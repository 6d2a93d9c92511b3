import type { Content } from '../content/content.ts'
import type { Digest } from '../oci/digest.ts'
import type { Name } from '../oci/name.ts'

/** Who needs the bytes of a digest, and as what. */
export interface Owners {
  kind: 'blob' | 'manifest'
  /** At most `most`. */
  names: Name[]
}

const most = 10

/** The repositories that have a link to `digest`, looked for in all of them: for what is seldom. */
export async function ownersOf({ names, blobs, manifests }: Content, digest: Digest, signal: AbortSignal): Promise<Owners> {
  const found: Owners = { kind: 'blob', names: [] }
  for await (const name of names.all()) {
    signal.throwIfAborted()
    const manifest = (await manifests.linked(name, digest)) !== undefined
    if (manifest) found.kind = 'manifest'
    if (manifest || (await blobs.linked(name, digest)) !== undefined) found.names.push(name)
    if (found.names.length === most) break
  }
  return found
}
