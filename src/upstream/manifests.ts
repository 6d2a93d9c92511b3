import { type Descriptor, mediaTypes } from '../oci/descriptor.ts'
import { algorithmOf, type Digest, digestOf, isDigest } from '../oci/digest.ts'
import { mediaTypeOf } from '../oci/manifest.ts'
import { type Reference, referenceText } from '../oci/name.ts'
import { fieldOf, lengthOf } from './connection/headers.ts'
import { abandon, BodyTooLong, drain, readBytes } from './connection/read-body.ts'
import type { UpstreamRequest, UpstreamResponse } from './endpoint-client.ts'
import type { UpstreamError } from './error.ts'
import type { FailoverClient } from './failover.ts'
import { connectionError, unusableResponse } from './failure.ts'
import { headOrGet } from './health/head-refusals.ts'

/**
 * A manifest as the upstream sent it. By digest its bytes are verified; by tag they are a JSON object, verified against
 * `Docker-Content-Digest` if that was sent.
 */
export interface UpstreamManifest {
  descriptor: Descriptor
  bytes: Buffer
  etag?: string
}

/** The largest manifest, in bytes: by default (distribution-spec: at least 4 MiB should be accepted), and at most. */
export const manifestLimits = { default: 4 * 1024 * 1024, max: 32 * 1024 * 1024 } as const

const { dockerList, dockerManifest, ociIndex, ociManifest } = mediaTypes
const accept = [dockerManifest, dockerList, ociManifest, ociIndex, '*/*'].join(', ')

// Sent by servers and object storage that do not know the type.
const unspecificTypes: ReadonlySet<string> = new Set([
  '',
  'application/json',
  'application/octet-stream',
  'binary/octet-stream',
  'text/plain'
])

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
  if (answer.status !== 200 || digest === undefined || !isDigest(digest) || size === undefined || unspecificTypes.has(mediaType))
    return undefined
  if (named !== undefined && isDigest(named) && algorithmOf(named) === algorithmOf(digest) && named !== digest) {
    throw wrong(answer, `the response names ${named}`)
  }
  return { mediaType, digest, size }
}

/** The bytes of a manifest, verified as far as possible. */
export function fetchManifest(
  client: FailoverClient,
  name: string,
  reference: Reference,
  { ifNoneMatch, limit = manifestLimits.default, signal }: { ifNoneMatch?: string; limit?: number; signal: AbortSignal }
): Promise<UpstreamManifest | 'not-modified'> {
  const request = manifestRequest('GET', name, reference, ifNoneMatch)
  return client.run(request, signal, async answer => {
    if (answer.status !== 304) return verify(answer, reference, await readManifest(answer, Math.min(limit, manifestLimits.max)))
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

async function readManifest(answer: UpstreamResponse, limit: number): Promise<Buffer> {
  if (answer.status !== 200) {
    abandon(answer.body)
    throw unusableResponse('invalid', `${answer.status} is not a valid status here`, answer)
  }
  try {
    if ((lengthOf(answer.headers) ?? 0) > limit) throw new BodyTooLong(limit)
    return await readBytes(answer.body, limit)
  } catch (cause) {
    abandon(answer.body)
    if (cause instanceof BodyTooLong) throw unusableResponse('invalid', cause.message, answer, 'SIZE')
    throw connectionError(cause, answer.endpoint.host, answer.text)
  }
}

function verify(answer: UpstreamResponse, reference: Reference, bytes: Buffer): UpstreamManifest {
  const digest = reference.digest ? verifyDigest(answer, reference.digest, bytes) : verifyTagged(answer, bytes)
  const etag = fieldOf(answer.headers, 'etag')
  const type = typeField(answer)
  const mediaType = unspecificTypes.has(type) ? mediaTypeOf(bytes) : type
  return { descriptor: { mediaType, digest, size: bytes.length }, bytes, ...(etag === undefined ? {} : { etag }) }
}

function verifyDigest(answer: UpstreamResponse, digest: Digest, bytes: Buffer): Digest {
  const actual = digestOf(bytes, algorithmOf(digest))
  if (actual !== digest) throw wrong(answer, `the bytes are ${actual}`)
  return digest
}

// A tag does not verify bytes, and a login page is a 200 too.
function verifyTagged(answer: UpstreamResponse, bytes: Buffer): Digest {
  const named = fieldOf(answer.headers, 'docker-content-digest')
  if (named !== undefined && !isDigest(named)) throw unusableResponse('invalid', 'a Docker-Content-Digest that is no digest', answer)
  if (!isObject(bytes)) throw unusableResponse('invalid', 'the manifest is not a JSON object', answer)
  return named === undefined ? digestOf(bytes) : verifyDigest(answer, named, bytes)
}

function isObject(bytes: Buffer): boolean {
  try {
    const value: unknown = JSON.parse(bytes.toString())
    return typeof value === 'object' && value !== null && !Array.isArray(value)
  } catch {
    return false
  }
}

function typeField({ headers }: UpstreamResponse): string {
  return (fieldOf(headers, 'content-type') ?? '').replace(/;.*$/s, '').trim().toLowerCase()
}

function wrong(answer: UpstreamResponse, reason: string): UpstreamError {
  return unusableResponse('broken', `wrong digest: ${reason}`, answer, 'DIGEST')
}
