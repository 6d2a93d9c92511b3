import type { Content } from '../content/content.ts'
import type { Digest } from '../oci/digest.ts'
import { OciError } from '../oci/errors.ts'
import { type Name, type Reference, referenceText } from '../oci/name.ts'
import type { Manifest } from '../oci/source.ts'

/** The manifest that `reference` names in what is stored; NAME_UNKNOWN or MANIFEST_UNKNOWN (404) otherwise. */
export async function findManifest(content: Content, name: Name, reference: Reference): Promise<Manifest> {
  const digest = reference.digest ?? (await content.tags.resolve(name, reference.tag))
  const manifest = digest && (await content.manifests.get(name, digest))
  if (manifest) return manifest
  throw await unknownManifest(content, name, reference)
}

/** What to answer where there is no such manifest: it makes a difference to people whether the repository exists. */
export async function unknownManifest(content: Content, name: Name, reference: Reference): Promise<OciError> {
  if (!(await content.names.has(name))) return new OciError('NAME_UNKNOWN', { detail: { name } })
  return new OciError('MANIFEST_UNKNOWN', { detail: { name, reference: referenceText(reference) } })
}

/** The blob is not in this repository, whether or not another has it. */
export function unknownBlob(name: Name, digest: Digest): OciError {
  return new OciError('BLOB_UNKNOWN', { detail: { name, digest } })
}
