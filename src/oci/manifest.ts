import { type Descriptor, mediaTypes } from './descriptor.ts'
import { type Digest, isDigest } from './digest.ts'
import { OciError } from './errors.ts'
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

const images: readonly string[] = [mediaTypes.ociManifest, mediaTypes.dockerManifest]
// RFC 6838 §4.2. It becomes a header field.
const mediaTypeGrammar = /^[a-z0-9][a-z0-9!#$&^_.+-]{0,126}\/[a-z0-9][a-z0-9!#$&^_.+-]{0,126}$/i
const indexes: readonly string[] = [mediaTypes.ociIndex, mediaTypes.dockerList]

/** Parses a pushed manifest; MANIFEST_INVALID (400) with the reason. */
export function parseManifest(bytes: Uint8Array, contentType: string | undefined): ParsedManifest {
  const json = parseObject(bytes)
  if (json['schemaVersion'] !== 2) throw invalid('schemaVersion is not 2')
  const mediaType = agreedMediaType(json, contentType)
  return indexes.includes(mediaType) ? parseIndex(json, mediaType) : parseImage(json, mediaType)
}

/** Parses a stored manifest; undefined for a kind that this registry does not know, which is served all the same. */
export function readManifest(bytes: Uint8Array): ParsedManifest | undefined {
  try {
    return parseManifest(bytes, undefined)
  } catch {
    return undefined
  }
}

/**
 * The media type of a stored manifest: its `mediaType`, else by its shape (the layout on disk does not keep the
 * Content-Type).
 */
export function mediaTypeOf(bytes: Uint8Array): string {
  try {
    const json = parseObject(bytes)
    const own = json['mediaType']
    if (typeof own === 'string' && mediaTypeGrammar.test(own)) return own
    if (json['schemaVersion'] === 1) return 'application/vnd.docker.distribution.manifest.v1+prettyjws'
    return shapeOf(json) ?? mediaTypes.blob
  } catch {
    return mediaTypes.blob
  }
}

type Json = Record<string, unknown>

// A byte order mark stays and is no JSON: clients cannot parse it.
const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

// Parsers of clients have a limit, 10,000 in Go; a manifest has six levels.
const maxNesting = 1_000

function isDeeperThan(levels: number, text: string): boolean {
  let depth = 0
  let quoted = false
  for (let at = 0; at < text.length; at++) {
    const each = text[at]
    if (quoted && each === '\\') at++
    else if (each === '"') quoted = !quoted
    else if (quoted) continue
    else if (each === '{' || each === '[') {
      if (++depth > levels) return true
    } else if (each === '}' || each === ']') depth--
  }
  return false
}

function parseObject(bytes: Uint8Array): Json {
  let value: unknown
  try {
    const text = utf8.decode(bytes)
    if (isDeeperThan(maxNesting, text)) throw new Error(`nested more than ${maxNesting} deep`)
    value = JSON.parse(text)
  } catch (cause) {
    throw invalid('not JSON in UTF-8', cause)
  }
  if (!isObject(value)) throw invalid('not a JSON object')
  return value
}

function isObject(value: unknown): value is Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

// `mediaType`, `Content-Type` and shape have to agree: a document that can be read as an image and as an index means
// different things to different clients (CVE-2021-41190).
function agreedMediaType(json: Json, contentType: string | undefined): string {
  const own = json['mediaType']
  if (own !== undefined && typeof own !== 'string') throw invalid('mediaType is not a string')
  const sent = contentType && contentType !== 'application/json' && contentType !== mediaTypes.blob ? contentType : undefined
  const shape = shapeOf(json)
  const mediaType = own ?? sent ?? shape
  if (mediaType === undefined) throw invalid('neither a mediaType, nor a config, nor manifests')
  if (own !== undefined && sent !== undefined && own !== sent) throw invalid(`mediaType is ${own}, Content-Type is ${sent}`)
  if (!images.includes(mediaType) && !indexes.includes(mediaType)) throw invalid(`media type ${mediaType.slice(0, 160)} is not supported`)
  // Without a `mediaType` the document would be served by its shape.
  if (own === undefined && mediaType !== shape) throw invalid(`a document of ${mediaType} has to say so in its mediaType`)
  return mediaType
}

function shapeOf(json: Json): string | undefined {
  if ('manifests' in json) return mediaTypes.ociIndex
  return 'config' in json || 'layers' in json ? mediaTypes.ociManifest : undefined
}

function parseImage(json: Json, mediaType: string): ParsedManifest {
  if ('manifests' in json) throw invalid('an image manifest has no manifests')
  const config = parseDescriptor(json['config'], 'config')
  const layers = parseList(json['layers'], 'layers')
  return { mediaType, blobs: [config, ...layers], manifests: [], ...parseCommon(json, config.mediaType) }
}

function parseIndex(json: Json, mediaType: string): ParsedManifest {
  if ('config' in json || 'layers' in json) throw invalid('an image index has neither config nor layers')
  return { mediaType, blobs: [], manifests: parseChildren(json['manifests']), ...parseCommon(json, undefined) }
}

function parseCommon(json: Json, configType: string | undefined): Pick<ParsedManifest, 'subject' | 'artifactType' | 'annotations'> {
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
  if (!isObject(value) || Object.values(value).some(each => typeof each !== 'string')) throw invalid(`${path} is not a map of strings`)
  return value as Record<string, string>
}

function parseList(value: unknown, path: string): Descriptor[] {
  if (value === undefined || value === null) return []
  if (!Array.isArray(value)) throw invalid(`${path} is not a list`)
  return value.map((each, index) => parseDescriptor(each, `${path}[${index}]`))
}

function parseChildren(value: unknown): ParsedManifest['manifests'] {
  return parseList(value, 'manifests').map((each, index) => {
    const platform = platformText((value as Json[])[index]?.['platform'])
    return platform === undefined ? each : { ...each, platform }
  })
}

function parseDescriptor(value: unknown, path: string): Descriptor {
  if (!isObject(value)) throw invalid(`${path} is not a descriptor`)
  const { mediaType, digest, size } = value
  if (typeof mediaType !== 'string') throw invalid(`${path}.mediaType is not a string`)
  if (typeof digest !== 'string' || !isDigest(digest)) throw invalid(`${path}.digest is not a digest of sha256 or sha512`)
  if (typeof size !== 'number' || !Number.isSafeInteger(size) || size < 0) throw invalid(`${path}.size is not a number of bytes`)
  return { mediaType, digest: digest satisfies Digest, size }
}

function invalid(reason: string, cause?: unknown): OciError {
  return new OciError('MANIFEST_INVALID', { detail: { reason }, cause })
}
