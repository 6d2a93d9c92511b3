import { utimes } from 'node:fs/promises'
import * as keys from '../../src/content/keys.ts'
import { type Digest, digestOf } from '../../src/oci/digest.ts'
import type { Name } from '../../src/oci/name.ts'
import { named, type Opened, tagged } from './content.ts'

/** The repository that has what is cached, where no other one is given. */
export const cachedName = named('system/deckhouse')

const upstream = 'upstream.example'

/** Caches a blob as a fill does, with a last access at `at`. */
export async function cacheBlob(t: Opened, bytes: string, at: number, of: Name = cachedName): Promise<Digest> {
  const digest = digestOf(Buffer.from(bytes))
  const writer = await t.storage.create(`.registry/tmp/${digest.slice(-8)}`)
  await writer.write([Buffer.from(bytes)])
  await t.content.commit.publishBlob(of, digest, writer, upstream)
  await ageCached(t, digest, at, of)
  return digest
}

/** Caches a manifest, with a last access at `at`. */
export async function cacheManifest(
  t: Opened,
  bytes: Buffer,
  at: number,
  tags: readonly string[] = [],
  of: Name = cachedName
): Promise<Digest> {
  const digest = digestOf(bytes)
  await t.content.commit.putManifest(of, digest, bytes, { tags: tags.map(tagged), provenance: { upstream, digest, checked: at } })
  await ageCached(t, digest, at, of)
  return digest
}

/** Gives a record of cached content the last access `at`. */
export async function ageCached({ storage }: Opened, digest: Digest, at: number, of: Name): Promise<void> {
  const path = (storage as unknown as { path(key: string): string }).path(keys.provenanceRecord(of, digest))
  await utimes(path, at / 1000, at / 1000)
}
