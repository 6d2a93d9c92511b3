import { type Digest, isDigest } from '../oci/digest.ts'
import { isName, isTag, type Name, type Tag } from '../oci/name.ts'

/** What a purge removes: a repository, or a tag or a digest of it. */
export interface PurgeTarget {
  name: Name
  tag?: Tag
  digest?: Digest
}

/** The text is no target; the message says why. */
export class MalformedTarget extends Error {
  override readonly name = 'MalformedTarget'
}

/** Parses `<name>`, `<name>:<tag>` or `<name>@<digest>`. Guesses nothing, since the target is removed. */
export function parseTarget(text: string): PurgeTarget {
  const at = text.indexOf('@')
  const colon = text.lastIndexOf(':')
  const separator = at !== -1 ? at : colon > text.lastIndexOf('/') ? colon : text.length
  const [name, rest] = [text.slice(0, separator), text.slice(separator + 1)]
  if (!isName(name)) {
    const quoted = JSON.stringify(name.slice(0, 160))
    throw new MalformedTarget(`${quoted} is not the name of a repository; it is written without a host, as in the catalog`)
  }
  if (separator === text.length) return { name }
  if (at !== -1) {
    if (isDigest(rest)) return { name, digest: rest }
    throw new MalformedTarget(`what follows the @ is not a digest of sha256 or sha512: ${JSON.stringify(rest.slice(0, 160))}`)
  }
  if (isTag(rest)) return { name, tag: rest }
  throw new MalformedTarget(`${JSON.stringify(rest.slice(0, 160))} is not a tag: at most 128 of A-Z a-z 0-9 . _ -`)
}
