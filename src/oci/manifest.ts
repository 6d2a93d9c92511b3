import { type Descriptor, mediaTypes } from './descriptor.ts'
import { type Digest, isDigest } from './digest.ts'
import { OciError } from './errors.ts'
import { isJsonObject, type JsonObject, parseJson } from './json.ts'
import { JsonTooCostly } from './json-meter.ts'
import { kindOfType, typeOfDocument, typeOfShape } from './manifest-kind.ts'
import { platformText } from './platform.ts'

/** A manifest, as far as a registry needs it. */
export interface ParsedManifest {
  mediaType: string
  /** Config and layers, in this order. */
  blobs: Descriptor[]
  /** Children of an image index, each with its platform (`os/architecture[/variant]`) if the index has one. */
  manifests: (Descriptor & { platform?: string })[]
  subject?: Descriptor
  /**
   * For the referrers API: the manifest's own, else the config's media type (distribution-spec, "Listing Referrers").
   */
  artifactType?: string
  annotations?: Record<string, string>
}

/** What is known of a manifest's bytes. They are parsed once, and this is handed on. */
export interface ManifestDocument {
  /** Of its own, else by its shape: the layout on disk does not keep the Content-Type. */
  mediaType: string
  /** Undefined for a kind that this registry does not know, which is served all the same. */
  parsed: ParsedManifest | undefined
}

/** Parses a pushed manifest; MANIFEST_INVALID (400) with the reason. */
export function parseManifest(bytes: Uint8Array, contentType: string | undefined): ParsedManifest {
  return parseDocument(parseObject(bytes), contentType)
}

/** Parses the JSON of a manifest; MANIFEST_INVALID (400) with the reason. */
export function parseDocument(json: JsonObject, contentType: string | undefined): ParsedManifest {
  if (json['schemaVersion'] !== 2) throw invalid('schemaVersion is not 2')
  const mediaType = agreedMediaType(json, contentType)
  return kindOfType(mediaType) === 'index' ? parseIndex(json, mediaType) : parseImage(json, mediaType)
}

/** As `parseDocument`; undefined for a kind that this registry does not know. */
export function readDocument(json: JsonObject): ParsedManifest | undefined {
  try {
    return parseDocument(json, undefined)
  } catch {
    return undefined
  }
}

/** Parses a stored manifest; undefined for a kind that this registry does not know, which is served all the same. */
export function readManifest(bytes: Uint8Array): ParsedManifest | undefined {
  return inspectManifest(bytes).parsed
}

/** The media type of a stored manifest. */
export function mediaTypeOf(bytes: Uint8Array): string {
  return inspectManifest(bytes).mediaType
}

/** Reads a stored manifest, whatever it is. */
export function inspectManifest(bytes: Uint8Array): ManifestDocument {
  try {
    const json = parseObject(bytes)
    return { mediaType: typeOfDocument(json) ?? mediaTypes.blob, parsed: readDocument(json) }
  } catch {
    return { mediaType: mediaTypes.blob, parsed: undefined }
  }
}

function parseObject(bytes: Uint8Array): JsonObject {
  let value: unknown
  try {
    value = parseJson(bytes)
  } catch (cause) {
    throw invalid(cause instanceof JsonTooCostly ? cause.message : 'not JSON in UTF-8', cause)
  }
  if (!isJsonObject(value)) throw invalid('not a JSON object')
  return value
}

// `mediaType`, `Content-Type` and shape have to agree: a document that can be read as an image and as an index means
// different things to different clients (CVE-2021-41190).
function agreedMediaType(json: JsonObject, contentType: string | undefined): string {
  const own = json['mediaType']
  if (own !== undefined && typeof own !== 'string') throw invalid('mediaType is not a string')
  const sent = contentType && contentType !== 'application/json' && contentType !== mediaTypes.blob ? contentType : undefined
  const shape = typeOfShape(json)
  const mediaType = own ?? sent ?? shape
  if (mediaType === undefined) throw invalid('neither a mediaType, nor a config, nor manifests')
  if (own !== undefined && sent !== undefined && own !== sent) throw invalid(`mediaType is ${own}, Content-Type is ${sent}`)
  const kind = kindOfType(mediaType)
  if (kind !== 'image' && kind !== 'index') throw invalid(`media type ${mediaType.slice(0, 160)} is not supported`)
  // Without a `mediaType` the document would be served by its shape.
  if (own === undefined && mediaType !== shape) throw invalid(`a document of ${mediaType} has to say so in its mediaType`)
  return mediaType
}

function parseImage(json: JsonObject, mediaType: string): ParsedManifest {
  if ('manifests' in json) throw invalid('an image manifest has no manifests')
  const config = parseDescriptor(json['config'], 'config')
  const layers = parseList(json['layers'], 'layers')
  return { mediaType, blobs: [config, ...layers], manifests: [], ...parseCommon(json, config.mediaType) }
}

function parseIndex(json: JsonObject, mediaType: string): ParsedManifest {
  if ('config' in json || 'layers' in json) throw invalid('an image index has neither config nor layers')
  return { mediaType, blobs: [], manifests: parseChildren(json['manifests']), ...parseCommon(json, undefined) }
}

function parseCommon(json: JsonObject, configType: string | undefined): Pick<ParsedManifest, 'subject' | 'artifactType' | 'annotations'> {
  const own = json['artifactType']
  if (own !== undefined && typeof own !== 'string') throw invalid('artifactType is not a string')
  const artifactType = own || configType
  const annotations = parseAnnotations(json['annotations'], 'annotations')
  return {
    ...(json['subject'] === undefined || json['subject'] === null ? {} : { subject: parseDescriptor(json['subject'], 'subject') }),
    ...(artifactType === undefined ? {} : { artifactType }),
    ...(annotations === undefined ? {} : { annotations })
  }
}

function parseAnnotations(value: unknown, path: string): Record<string, string> | undefined {
  if (value === undefined || value === null) return undefined
  if (!isJsonObject(value) || Object.values(value).some(each => typeof each !== 'string')) throw invalid(`${path} is not a map of strings`)
  return value as Record<string, string>
}

function parseList(value: unknown, path: string): Descriptor[] {
  if (value === undefined || value === null) return []
  if (!Array.isArray(value)) throw invalid(`${path} is not a list`)
  return value.map((each, index) => parseDescriptor(each, `${path}[${index}]`))
}

function parseChildren(value: unknown): ParsedManifest['manifests'] {
  return parseList(value, 'manifests').map((each, index) => {
    const platform = platformText((value as JsonObject[])[index]?.['platform'])
    return platform === undefined ? each : { ...each, platform }
  })
}

function parseDescriptor(value: unknown, path: string): Descriptor {
  if (!isJsonObject(value)) throw invalid(`${path} is not a descriptor`)
  const { mediaType, digest, size } = value
  if (typeof mediaType !== 'string') throw invalid(`${path}.mediaType is not a string`)
  if (typeof digest !== 'string' || !isDigest(digest)) throw invalid(`${path}.digest is not a digest of sha256 or sha512`)
  if (typeof size !== 'number' || !Number.isSafeInteger(size) || size < 0) throw invalid(`${path}.size is not a number of bytes`)
  return { mediaType, digest: digest satisfies Digest, size }
}

function invalid(reason: string, cause?: unknown): OciError {
  return new OciError('MANIFEST_INVALID', { detail: { reason }, cause })
}
