import { type Digest, isDigest } from './digest.ts'
import { OciError } from './errors.ts'

/** A repository's name (distribution-spec, "Pulling manifests"). Made only by `parseName`. */
export type Name = string & { readonly [name]: true }
declare const name: unique symbol

/** A tag. Made only by `parseTag` and `parseReference`. */
export type Tag = string & { readonly [tag]: true }
declare const tag: unique symbol

/** A tag or a digest: what names a manifest in a repository. */
export type Reference = { digest: Digest; tag?: undefined } | { tag: Tag; digest?: undefined }

// The spec's grammar. The look-alike `-+` is kept linear by anchoring each separator between alphanumerics.
const component = '[a-z0-9]+(?:(?:\\.|_|__|-+)[a-z0-9]+)*'
const names = new RegExp(`^${component}(?:/${component})*$`)
const tags = /^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$/

/**
 * A file name may have 255 bytes, and containerd keeps host and name within 255: longer names could be pushed but not
 * be pulled.
 */
const maxNameLength = 255

/** Whether `text` is a repository's name. */
export function isName(text: string): text is Name {
  return text.length <= maxNameLength && names.test(text)
}

/** `text` as a repository's name; NAME_INVALID (400) otherwise. */
export function parseName(text: string): Name {
  if (isName(text)) return text
  const reason =
    text.length > maxNameLength
      ? `longer than ${maxNameLength} characters`
      : 'not lower-case alphanumeric components separated by . _ __ - and /'
  throw new OciError('NAME_INVALID', { detail: { reason, name: text.slice(0, 160) } })
}

/** Whether `text` is a tag. */
export function isTag(text: string): text is Tag {
  return tags.test(text)
}

/** `text` as a tag; MANIFEST_INVALID (400) otherwise. */
export function parseTag(text: string): Tag {
  if (isTag(text)) return text
  throw new OciError('MANIFEST_INVALID', { detail: { reason: 'not a tag: at most 128 of A-Z a-z 0-9 . _ -', tag: text.slice(0, 160) } })
}

/**
 * A tag or a digest. A digest of bad form is DIGEST_INVALID, anything else that is no tag is MANIFEST_INVALID (both
 * 400).
 */
export function parseReference(text: string): Reference {
  if (isDigest(text)) return { digest: text }
  if (!text.includes(':')) return { tag: parseTag(text) }
  throw new OciError('DIGEST_INVALID', {
    detail: { reason: 'neither a tag nor a digest of sha256 or sha512', reference: text.slice(0, 160) }
  })
}

/** A reference as it stands in a URL. */
export function referenceText(reference: Reference): string {
  return reference.digest ?? reference.tag
}
