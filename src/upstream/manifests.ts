import { type Descriptor, mediaTypes } from '../oci/descriptor.ts'
import { algorithmOf, type Digest, digestOf, isDigest } from '../oci/digest.ts'
import { isJsonObject, type JsonObject, parseMetered } from '../oci/json.ts'
import { type ManifestDocument, readDocument } from '../oci/manifest.ts'
import { kindOfType, recognizeManifest } from '../oci/manifest-kind.ts'
import { type Reference, referenceText } from '../oci/name.ts'
import { fieldOf, lengthOf } from './connection/headers.ts'
import { abandon, drain } from './connection/read-body.ts'
import type { UpstreamRequest, UpstreamResponse } from './endpoint-client.ts'
import type { UpstreamError } from './error.ts'
import type { FailoverClient } from './failover.ts'
import { unusableResponse } from './failure.ts'
import { headOrGet } from './health/head-refusals.ts'

/**
 * A manifest as the upstream sent it, and what is known of it. By digest its bytes are verified; by tag against
 * `Docker-Content-Digest`, if that was sent.
 */
export interface UpstreamManifest {
  descriptor: Descriptor
  bytes: Buffer
  document: ManifestDocument
  etag?: string
}

/** The largest manifest, in bytes: by default (distribution-spec: at least 4 MiB should be accepted), and at most. */
export const manifestLimits = { default: 4 * 1024 * 1024, max: 8 * 1024 * 1024 } as const

// It is stored and cached with the tag; that of a registry is the digest in quotes.
const maxEtagLength = 256

const { dockerList, dockerManifest, ociIndex, ociManifest } = mediaTypes
const accept = [dockerManifest, dockerList, ociManifest, ociIndex, '*/*'].join(', ')

/** The descriptor of a manifest, from a HEAD if that has digest, size and media type, else from a GET. */
export async function statManifest(client: FailoverClient, name: string, reference: Reference, signal: AbortSignal): Promise<Descriptor> {
  const head = () =>
    client.run(manifestRequest('HEAD', name, reference), signal, async answer => {
      await drain(answer.body)
      return describe(answer, reference)
    })
  const get = async () => {
    const manifest = await fetchManifest(client, name, reference, { signal })
    // An unconditional request that is answered 304 has thrown already.
    if (manifest === 'not-modified') throw new Error('not modified, though nothing was known')
    return manifest.descriptor
  }
  return headOrGet(client, 'manifest', { head, get })
}

function describe(answer: UpstreamResponse, reference: Reference): Descriptor | undefined {
  const named = fieldOf(answer.headers, 'docker-content-digest')
  const digest = reference.digest ?? named
  const size = lengthOf(answer.headers)
  const mediaType = typeField(answer)
  if (answer.status !== 200 || digest === undefined || !isDigest(digest) || size === undefined || kindOfType(mediaType) === undefined)
    return undefined
  if (named !== undefined && isDigest(named) && algorithmOf(named) === algorithmOf(digest) && named !== digest) {
    throw wrong(answer, `the response names ${named}`)
  }
  return { mediaType, digest, size }
}

/** What a manifest is asked for with: a condition, and a limit in bytes. */
export interface ManifestWanted {
  ifNoneMatch?: string
  limit?: number
  signal: AbortSignal
}

/** A manifest, verified as far as possible; `invalid` for an answer that is none. */
export async function fetchManifest(
  client: FailoverClient,
  name: string,
  reference: Reference,
  wanted: ManifestWanted
): Promise<UpstreamManifest | 'not-modified'> {
  const fetched = await fetchJson(client, name, reference, wanted)
  return fetched === 'not-modified' ? fetched : fetched.manifest
}

/** As `fetchManifest`, with all of its JSON. */
export function fetchJson(
  client: FailoverClient,
  name: string,
  reference: Reference,
  { ifNoneMatch, limit = manifestLimits.default, signal }: ManifestWanted
): Promise<{ manifest: UpstreamManifest; json: JsonObject } | 'not-modified'> {
  const request = manifestRequest('GET', name, reference, ifNoneMatch)
  return client.run(request, signal, async answer => {
    if (answer.status !== 304) {
      if (answer.status !== 200) {
        abandon(answer.body)
        throw unusableResponse('invalid', `${answer.status} is not a valid status here`, answer)
      }
      using reader = client.answers.reader({ what: 'manifest', bytes: Math.min(limit, manifestLimits.max) })
      return verify(answer, reference, await reader.read(answer))
    }
    await drain(answer.body)
    if (ifNoneMatch === undefined) throw unusableResponse('invalid', '304 to an unconditional request', answer)
    return 'not-modified'
  })
}

/** As `fetchManifest`, but only if a HEAD does not tell that the tag still has the digest `known`. */
export function revalidateManifest(
  client: FailoverClient,
  name: string,
  reference: Reference,
  { known, ...want }: { known: Digest; ifNoneMatch?: string; limit?: number; signal: AbortSignal }
): Promise<UpstreamManifest | 'not-modified'> {
  const head = () =>
    client.run(manifestRequest('HEAD', name, reference), want.signal, async answer => {
      await drain(answer.body)
      const same = answer.status === 200 && fieldOf(answer.headers, 'docker-content-digest') === known
      return same ? ('not-modified' as const) : undefined
    })
  return headOrGet(client, 'manifest', { head, get: () => fetchManifest(client, name, reference, want) })
}

function manifestRequest(method: 'GET' | 'HEAD', name: string, reference: Reference, ifNoneMatch?: string): UpstreamRequest {
  const headers = { accept, ...(ifNoneMatch === undefined ? {} : { 'if-none-match': ifNoneMatch }) }
  return {
    resource: 'manifest',
    method,
    path: `/v2/${name}/manifests/${referenceText(reference)}`,
    scope: `repository:${name}:pull`,
    headers
  }
}

function verify(answer: UpstreamResponse, reference: Reference, bytes: Buffer): { manifest: UpstreamManifest; json: JsonObject } {
  const digest = reference.digest ? verifyDigest(answer, reference.digest, bytes) : verifyTagged(answer, bytes)
  const json = parseManifestJson(answer, bytes)
  // A tag does not verify bytes, and a login or a maintenance page is a 200 too.
  const recognized = recognizeManifest(json, typeField(answer))
  if ('reason' in recognized) throw unusableResponse('invalid', `the answer is no manifest: ${recognized.reason}`, answer, 'MANIFEST')
  const { mediaType } = recognized
  const etag = fieldOf(answer.headers, 'etag')
  const manifest = {
    descriptor: { mediaType, digest, size: bytes.length },
    bytes,
    document: { mediaType, parsed: readDocument(json) },
    ...(etag === undefined || etag.length > maxEtagLength ? {} : { etag })
  }
  return { manifest, json }
}

function verifyDigest(answer: UpstreamResponse, digest: Digest, bytes: Buffer): Digest {
  const actual = digestOf(bytes, algorithmOf(digest))
  if (actual !== digest) throw wrong(answer, `the bytes are ${actual}`)
  return digest
}

function verifyTagged(answer: UpstreamResponse, bytes: Buffer): Digest {
  const named = fieldOf(answer.headers, 'docker-content-digest')
  if (named !== undefined && !isDigest(named)) throw unusableResponse('invalid', 'a Docker-Content-Digest that is no digest', answer)
  return named === undefined ? digestOf(bytes) : verifyDigest(answer, named, bytes)
}

function parseManifestJson(answer: UpstreamResponse, bytes: Buffer): JsonObject {
  let value: unknown
  try {
    value = parseMetered(bytes)
  } catch {
    throw unusableResponse('invalid', 'the answer is no manifest: it is not JSON in UTF-8', answer, 'MANIFEST')
  }
  if (isJsonObject(value)) return value
  throw unusableResponse('invalid', 'the answer is no manifest: it is not a JSON object', answer, 'MANIFEST')
}

function typeField({ headers }: UpstreamResponse): string {
  return (fieldOf(headers, 'content-type') ?? '').replace(/;.*$/s, '').trim().toLowerCase()
}

function wrong(answer: UpstreamResponse, reason: string): UpstreamError {
  return unusableResponse('broken', `wrong digest: ${reason}`, answer, 'DIGEST')
}
