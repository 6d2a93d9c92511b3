import * as keys from '../content/keys.ts'
import { listDigests } from '../content/walk.ts'
import type { Digest } from '../oci/digest.ts'
import type { Name } from '../oci/name.ts'
import type { DamageEvent } from './events.ts'
import type { Tree } from './tree.ts'

/** Rebuilds the index entry of `digest` as a referrer of `subject`, if it is missing. */
export async function* checkIndexed(
  { content, storage }: Pick<Tree, 'content' | 'storage'>,
  name: Name,
  subject: Digest,
  digest: Digest
): AsyncGenerator<DamageEvent, void> {
  if (await storage.stat(keys.referrer(name, subject, digest))) return
  if ((await content.commit.indexReferrer(name, subject, digest)) !== 'added') return
  const reason = `it was not listed among the referrers of ${subject}`
  yield { type: 'damaged', kind: 'referrer', digest, names: [name], reason, action: 'rebuilt' }
}

/** Removes index entries of manifests that are gone, or that have another subject. */
export async function* checkReferrers({ content, storage }: Tree, name: Name, signal: AbortSignal): AsyncGenerator<DamageEvent, void> {
  for await (const { subject, digest } of entries(storage, name)) {
    signal.throwIfAborted()
    if ((await content.commit.indexReferrer(name, subject, digest)) !== 'removed') continue
    const reason = `it was listed among the referrers of ${subject}, but does not have it as its subject`
    yield { type: 'damaged', kind: 'referrer', digest, names: [name], reason, action: 'removed' }
  }
}

async function* entries(storage: Tree['storage'], name: Name): AsyncGenerator<{ subject: Digest; digest: Digest }, void> {
  for await (const subject of listDigests(storage, keys.allReferrers(name))) {
    for await (const digest of listDigests(storage, keys.referrers(name, subject))) yield { subject, digest }
  }
}
