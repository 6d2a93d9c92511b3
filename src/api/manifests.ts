import { OciError } from '../oci/errors.ts'
import { type Name, parseTag, type Reference, referenceText, type Tag } from '../oci/name.ts'
import type { PutManifest } from '../oci/sink.ts'
import { type Exchange, end, requireCapacity, respondBytes, respondEmpty, sinkOf, writeHead } from './exchange.ts'
import { etagOf, noneMatch, setServed } from './headers.ts'
import type { Hold } from './held-bytes.ts'
import { receiveWhole } from './receive.ts'

// end-7b requires at least 10; each tag is a durable write.
const maxTags = 100

/** end-3: the manifest as it was pushed, whatever `Accept` says: converted bytes would have another digest. */
export async function getManifest(exchange: Exchange, name: Name, reference: Reference): Promise<void> {
  const { request, response, record, backend, signal } = exchange
  const served = await backend.getManifest(name, reference, { signal })
  record.outcome = served.outcome
  if (served.age !== undefined) record.age = served.age
  setServed(response, served)
  const { descriptor, bytes } = served.value
  const headers = { etag: etagOf(descriptor.digest), 'docker-content-digest': descriptor.digest, 'content-type': descriptor.mediaType }
  record.digest = descriptor.digest
  if (noneMatch(request.headers['if-none-match'], descriptor.digest)) return respondEmpty(exchange, 304, headers)
  return respondBytes(exchange, 200, headers, bytes)
}

/** end-3 HEAD. */
export async function headManifest(exchange: Exchange, name: Name, reference: Reference): Promise<void> {
  const { request, response, record, backend, signal } = exchange
  const served = await backend.statManifest(name, reference, signal)
  record.outcome = served.outcome
  if (served.age !== undefined) record.age = served.age
  setServed(response, served)
  const { mediaType, digest, size } = served.value
  record.digest = digest
  const headers = { etag: etagOf(digest), 'docker-content-digest': digest, 'content-type': mediaType }
  if (noneMatch(request.headers['if-none-match'], digest)) return respondEmpty(exchange, 304, headers)
  writeHead(exchange, 200, { ...headers, 'content-length': size })
  end(exchange)
}

/** end-7a, and end-7b with `?tag=`. */
export async function putManifest(exchange: Exchange, name: Name, reference: Reference): Promise<void> {
  const { query, held } = exchange
  const tags = query.getAll('tag').map(parseTag)
  if (tags.length > maxTags)
    throw new OciError('MANIFEST_INVALID', { status: 414, detail: { reason: `more than ${maxTags} tags at once` } })
  const sink = sinkOf(exchange)
  await requireCapacity(exchange)
  // Until the manifest is stored: it is also parsed.
  const hold = held.bodies.hold()
  try {
    await storeManifest(exchange, { sink, name, reference, tags, bytes: await receiveManifest(exchange, hold) })
  } finally {
    hold.end()
  }
}

function receiveManifest({ request, response, record, transfers, limits }: Exchange, hold: Hold): Promise<Buffer> {
  return receiveWhole(request, response, {
    stalls: transfers.stalls,
    hold,
    limitBytes: limits.manifestBytes,
    onChunk: bytes => {
      record.received += bytes
    }
  })
}

interface ReceivedManifest {
  sink: ReturnType<typeof sinkOf>
  name: Name
  reference: Reference
  tags: Tag[]
  bytes: Buffer
}

async function storeManifest(exchange: Exchange, { sink, name, reference, tags, bytes }: ReceivedManifest): Promise<void> {
  const { request, response, record } = exchange
  // Ignores parameters and case (RFC 9110 §8.3.1).
  const mediaType = request.headers['content-type']?.split(';', 1)[0]?.trim().toLowerCase()
  const put = await sink.putManifest(name, reference, mediaType ? { mediaType, bytes } : { bytes }, tags)
  record.digest = put.digest
  await auditPut(exchange, name, put)
  // Node sends a list as one field per value, as the spec requires of `OCI-Tag`.
  if (tags.length > 0) response.setHeader('oci-tag', tags)
  respondEmpty(exchange, 201, {
    location: `/v2/${name}/manifests/${put.digest}`,
    'docker-content-digest': put.digest,
    ...(put.subject ? { 'oci-subject': put.subject } : {})
  })
}

function auditPut({ audit }: Exchange, name: Name, { digest, tags }: PutManifest): Promise<void> {
  const changes = tags.map(({ tag, old }) => ({ action: 'tag', name, tag, new: digest, ...(old ? { old } : {}) }) as const)
  return audit({ action: 'push', name, new: digest }, ...changes)
}

/** end-9: a digest removes the manifest with its tags, a tag only the tag. */
export async function deleteManifest(exchange: Exchange, name: Name, reference: Reference): Promise<void> {
  const { digest, tags } = await sinkOf(exchange).deleteManifest(name, reference)
  const changes = tags.map(tag => ({ action: 'delete', name, tag, old: digest }) as const)
  await exchange.audit(...changes, ...(reference.digest ? [{ action: 'delete', name, old: digest } as const] : []))
  exchange.record.reference = referenceText(reference)
  respondEmpty(exchange, 202)
}
