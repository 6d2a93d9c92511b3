/**
 * The keys of content: the tree that CNCF Distribution writes, so that its directories and buckets can be opened in
 * place.
 *
 *   docker/registry/v2/
 *     blobs/<algorithm>/<first two of encoded>/<encoded>/data     the bytes, shared by all repositories
 *     repositories/<name>/
 *       _layers/<algorithm>/<encoded>/link                        this repository may read that blob
 *       _manifests/revisions/<algorithm>/<encoded>/link           this repository has that manifest
 *       _manifests/tags/<tag>/current/link                        a digest
 *       _manifests/tags/<tag>/index/<algorithm>/<encoded>/link    every digest the tag ever had
 *       _uploads/<session>/data, startedat                        not yet content
 *       _referrers/<subject>/<digest>/link                        ours: an index that can be rebuilt from the manifests
 *
 * A link is an object that holds a digest. A component of a name cannot begin with `_`. A digest in a key is
 * `<algorithm>/<encoded>`. What is only ours is below `.registry`, which Distribution does not look at.
 */
import { ownNames, ownPrefix } from '../../storage/layout.ts'
import type { Key } from '../../storage/storage.ts'
import { algorithmOf, type Digest, encodedOf, isDigest } from '../oci/digest.ts'
import type { Name, Tag } from '../oci/name.ts'
import type { SessionId } from '../oci/sink.ts'

const top = 'docker/registry/v2'

/** Below it, one prefix per repository. */
export const repositories: Key = `${top}/repositories`

const path = (digest: Digest): string => `${algorithmOf(digest)}/${encodedOf(digest)}`

/** The link of a digest below a prefix of links. */
export const link = (prefix: Key, digest: Digest): Key => `${prefix}/${path(digest)}/link`

/** All of one repository. */
export const repository = (name: Name | string): Key => `${repositories}/${name}`

/**
 * Below it, the bytes of all digests: a prefix per algorithm, in it one per first two characters, in it one per digest.
 */
export const blobs: Key = `${top}/blobs`

/** The bytes of a digest. */
export const blob = (digest: Digest): Key => {
  const encoded = encodedOf(digest)
  return `${blobs}/${algorithmOf(digest)}/${encoded.slice(0, 2)}/${encoded}/data`
}

/** The blob links of a repository. */
export const layers = (name: Name): Key => `${repository(name)}/_layers`
/** The link that lets `name` read a blob. */
export const layer = (name: Name, digest: Digest): Key => link(layers(name), digest)

/** The manifests of a repository. */
export const revisions = (name: Name): Key => `${repository(name)}/_manifests/revisions`
/** The link that says that `name` has a manifest. */
export const revision = (name: Name, digest: Digest): Key => link(revisions(name), digest)

/** Below it, one prefix per tag. */
export const tags = (name: Name): Key => `${repository(name)}/_manifests/tags`
/** The link to the digest that a tag names. */
export const tag = (name: Name, each: Tag): Key => `${tags(name)}/${each}/current/link`
/** Every digest that a tag ever had. */
export const tagIndex = (name: Name, each: Tag): Key => `${tags(name)}/${each}/index`
/** The link of one of those digests. */
export const tagIndexEntry = (name: Name, each: Tag, digest: Digest): Key => link(tagIndex(name, each), digest)

/** Below it, one prefix per upload session. */
export const uploads = (name: Name): Key => `${repository(name)}/_uploads`
/** All of an upload session. */
export const session = (name: Name, id: SessionId): Key => `${uploads(name)}/${id}`
/** The bytes of an upload session. */
export const upload = (name: Name, id: SessionId): Key => `${session(name, id)}/data`
/** When an upload session was started, in RFC 3339. */
export const uploadStarted = (name: Name, id: SessionId): Key => `${session(name, id)}/startedat`

/** Below it, one prefix per subject. */
export const allReferrers = (name: Name): Key => `${repository(name)}/_referrers`
/** The index of the referrers of `subject`. */
export const referrers = (name: Name, subject: Digest): Key => `${allReferrers(name)}/${path(subject)}`
/** The link of one referrer. */
export const referrer = (name: Name, subject: Digest, digest: Digest): Key => link(referrers(name, subject), digest)

/** The digest that `<algorithm>/<encoded>` spells. */
export function digestOfPath(algorithm: string, encoded: string): Digest | undefined {
  const digest = `${algorithm}:${encoded}`
  return isDigest(digest) ? digest : undefined
}

/** The digest whose bytes lie under `key`. */
export function digestOfBlob(key: Key): Digest | undefined {
  const [algorithm = '', , encoded = '', last] = key.slice(blobs.length + 1).split('/')
  return last === 'data' ? digestOfPath(algorithm, encoded) : undefined
}

/** The digest that the key of a link spells. */
export function digestOfLink(key: Key): Digest | undefined {
  const [algorithm = '', encoded = '', last] = key.split('/').slice(-3)
  return last === 'link' ? digestOfPath(algorithm, encoded) : undefined
}

/** Below it, the provenance records, in the same shape as `repositories`. */
export const provenance: Key = `${ownPrefix}/origin`
/** The provenance records of blobs and manifests of `name`. */
export const provenanceOf = (name: Name): Key => `${provenance}/${name}/_content`
/** The provenance record of a blob or manifest of `name`. */
export const provenanceRecord = (name: Name, digest: Digest): Key => `${provenanceOf(name)}/${path(digest)}`
/** The provenance record of a tag of `name`. */
export const tagProvenanceRecord = (name: Name, each: Tag): Key => `${provenance}/${name}/_tags/${each}`

/** Below it, what is known-bad. */
export const quarantine: Key = `${ownPrefix}/quarantine`
/** The damaged bytes of a digest. */
export const quarantined = (digest: Digest): Key => `${quarantine}/${path(digest)}/data`
/** What is known of the damage, in JSON. */
export const quarantineNote = (digest: Digest): Key => `${quarantine}/${path(digest)}/note`

/** The removal lease. */
export const removalLease: Key = `${ownPrefix}/lease/removal`
/** The lease under which one of several processes that share a storage scrubs. */
export const scrubLease: Key = `${ownPrefix}/lease/scrub`

/** When GC last succeeded, in JSON. */
export const gcSchedule: Key = `${ownPrefix}/gc`
/** How far the scrub cycle has come, in JSON. */
export const scrubPosition: Key = `${ownPrefix}/scrub`

/** Objects that have no key of their own yet. */
export const temporary: Key = `${ownPrefix}/${ownNames.temporary}`
