import type { Key, Storage } from '../../storage/storage.ts'
import * as keys from '../content/keys.ts'
import { algorithmOf, type Digest, isDigest } from '../oci/digest.ts'
import type { Name } from '../oci/name.ts'

/** A link as it lies on disk. `target` is the digest that it leads to; without it the link is damaged. */
export interface FoundLink {
  key: Key
  digest: Digest
  target?: Digest
}

// `sha256:` links that lead elsewhere are damaged; Distribution keeps what was pushed by sha512 under the sha256 that it computed.
function leads(digest: Digest, text: string): boolean {
  return isDigest(text) && (text === digest || algorithmOf(text) !== algorithmOf(digest))
}

/** Reads the digest in a link past the memory of links, which a walk over all of them would fill with what nobody asks for. */
export async function readLink(storage: Storage, key: Key): Promise<string | undefined> {
  const bytes = await storage.get(key).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'EFBIG') return Buffer.alloc(0)
    throw error
  })
  return bytes?.toString('latin1').trim()
}

/** The links `<algorithm>/<encoded>/link` below `prefix`, in order. */
export async function* linksBelow(storage: Storage, prefix: Key): AsyncGenerator<FoundLink, void> {
  for await (const algorithm of storage.walk(prefix)) {
    for await (const encoded of storage.walk(algorithm.key)) {
      const digest = keys.digestOfPath(algorithm.name, encoded.name)
      if (!digest) continue
      const key = `${encoded.key}/link`
      const text = await readLink(storage, key)
      // A prefix without a link is what a crash inside a removal leaves: it means nothing.
      if (text !== undefined) yield { key, digest, ...(leads(digest, text) ? { target: text as Digest } : {}) }
    }
  }
}

/** Everything that lets `name` read bytes: its blobs, then its manifests. */
export async function* linksOf(storage: Storage, name: Name): AsyncGenerator<FoundLink & { kind: 'blob' | 'manifest' }, void> {
  for await (const link of linksBelow(storage, keys.layers(name))) yield { ...link, kind: 'blob' }
  for await (const link of linksBelow(storage, keys.revisions(name))) yield { ...link, kind: 'manifest' }
}
