import { mediaTypes } from './descriptor.ts'
import { isJsonObject, type JsonObject } from './json.ts'

/**
 * What a manifest is made of. `image`: a config and layers. `index`: manifests. `artifact`: blobs and an artifactType,
 * which the image-spec has withdrawn. `schema1`: Docker's first. `other`: a kind that is not known here.
 */
export type ManifestKind = 'image' | 'index' | 'artifact' | 'schema1' | 'other'

const known: ReadonlyMap<string, ManifestKind> = new Map([
  [mediaTypes.ociManifest, 'image'],
  [mediaTypes.dockerManifest, 'image'],
  [mediaTypes.ociIndex, 'index'],
  [mediaTypes.dockerList, 'index'],
  ['application/vnd.oci.artifact.manifest.v1+json', 'artifact'],
  ['application/vnd.cncf.oras.artifact.manifest.v1+json', 'artifact'],
  ['application/vnd.docker.distribution.manifest.v1+json', 'schema1'],
  ['application/vnd.docker.distribution.manifest.v1+prettyjws', 'schema1']
])
const schema1 = 'application/vnd.docker.distribution.manifest.v1+prettyjws'

// RFC 6838 §4.2. It becomes a header field: never a type that a browser would render.
const otherGrammar = /^application\/vnd\.[a-z0-9!#$&^_.+-]{1,118}\+json$/

/** The kind of manifest that a media type names, in lower case; undefined for types of other things. */
export function kindOfType(mediaType: string): ManifestKind | undefined {
  return known.get(mediaType) ?? (otherGrammar.test(mediaType) ? 'other' : undefined)
}

/** What the fields of a document look like. */
function shapeOf(json: JsonObject): 'image' | 'index' | undefined {
  if ('manifests' in json) return 'index'
  return 'config' in json || 'layers' in json ? 'image' : undefined
}

/** The media type of a document: its own, else by its shape; undefined if it is no manifest. */
export function typeOfDocument(json: JsonObject): string | undefined {
  const own = json['mediaType']
  if (typeof own === 'string' && kindOfType(own) !== undefined) return own
  return json['schemaVersion'] === 1 ? schema1 : typeOfShape(json)
}

/** The media type of a document that does not say its own. */
export function typeOfShape(json: JsonObject): string | undefined {
  const shape = shapeOf(json)
  return shape && { image: mediaTypes.ociManifest, index: mediaTypes.ociIndex }[shape]
}

/**
 * The media type of a manifest that another registry sent as `contentType`, which may be unspecific; or the reason why
 * it is none. Its own media type, the Content-Type and its fields have to agree in the kind: a maintenance page is JSON
 * with a status of 200, too, and a document of two kinds means different things to different clients (CVE-2021-41190).
 * Docker's and OCI's name of one kind may stand for each other. Without a media type of its own a document is what its
 * fields say, as when it is stored.
 */
export function recognizeManifest(json: JsonObject, contentType: string): { mediaType: string } | { reason: string } {
  const own = json['mediaType'] || undefined
  const sent = kindOfType(contentType)
  if (own === undefined) return recognizeByFields(json, contentType, sent)
  const kind = typeof own === 'string' ? kindOfType(own) : undefined
  if (typeof own !== 'string' || kind === undefined) return { reason: 'its mediaType is not that of a manifest' }
  if (sent !== undefined && (sent !== kind || (kind === 'other' && contentType !== own)))
    return { reason: `its mediaType is ${own}, its Content-Type ${contentType}` }
  return hasFields[kind](json) ? { mediaType: own } : { reason: `it does not have the fields of ${own}` }
}

function recognizeByFields(
  json: JsonObject,
  contentType: string,
  sent: ManifestKind | undefined
): { mediaType: string } | { reason: string } {
  const kind = json['schemaVersion'] === 1 ? 'schema1' : shapeOf(json)
  const mediaType = kind === 'schema1' && sent === kind ? contentType : typeOfDocument(json)
  if (kind === undefined || mediaType === undefined) return { reason: 'it has neither a mediaType, nor a config, nor manifests' }
  if (sent !== undefined && sent !== kind) return { reason: `its Content-Type is ${contentType}` }
  return hasFields[kind](json) ? { mediaType } : { reason: `it does not have the fields of ${mediaType}` }
}

const hasFields: Record<ManifestKind, (json: JsonObject) => boolean> = {
  image: json => json['schemaVersion'] === 2 && isJsonObject(json['config']) && isList(json['layers']) && !('manifests' in json),
  index: json => json['schemaVersion'] === 2 && isList(json['manifests']) && !('config' in json) && !('layers' in json),
  artifact: json => typeof json['artifactType'] === 'string' && isList(json['blobs']) && shapeOf(json) === undefined,
  schema1: json => json['schemaVersion'] === 1 && typeof json['name'] === 'string' && Array.isArray(json['fsLayers']),
  other: () => true
}

// Go writes a list without entries as null.
function isList(value: unknown): boolean {
  return value === undefined || value === null || Array.isArray(value)
}
