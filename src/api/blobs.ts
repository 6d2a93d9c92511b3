import { mediaTypes } from '../oci/descriptor.ts'
import type { Digest } from '../oci/digest.ts'
import { OciError } from '../oci/errors.ts'
import type { Name } from '../oci/name.ts'
import { contentRange, parseRange } from '../oci/range.ts'
import { type Exchange, end, respondEmpty, sinkOf, writeHead } from './exchange.ts'
import { etagOf, noneMatch, rangeAllowed, setServed } from './headers.ts'
import { sendBody } from './send.ts'

/** end-2 HEAD. */
export async function headBlob(exchange: Exchange, name: Name, digest: Digest): Promise<void> {
  const served = await exchange.backend.statBlob(name, digest, exchange.signal)
  exchange.record.outcome = served.outcome
  setServed(exchange.response, served)
  if (noneMatch(exchange.request.headers['if-none-match'], digest)) return respondEmpty(exchange, 304, validators(digest))
  writeHead(exchange, 200, { ...representation(digest), 'content-length': served.value.size })
  end(exchange)
}

/** end-2 GET: the blob, or the part that `Range` selects (RFC 9110 §14). */
export async function getBlob(exchange: Exchange, name: Name, digest: Digest): Promise<void> {
  const { request, response, record, transfers } = exchange
  const { headers } = request
  const range = rangeAllowed(headers['if-range']?.toString(), digest) ? parseRange(headers.range) : undefined
  const cached = noneMatch(headers['if-none-match'], digest)
  const want = { signal: exchange.signal, ...(range ? { range } : {}), ...(cached ? {} : ({ redirect: 'allowed' } as const)) }
  const served = await exchange.backend.openBlob(name, digest, want)
  record.outcome = served.outcome
  if ('location' in served.value) {
    const { location } = served.value
    // The location is signed for this client and expires.
    return respondEmpty(exchange, 307, { location, 'docker-content-digest': digest, 'cache-control': 'no-store' })
  }
  setServed(response, served)
  const { size, part, body } = served.value
  if (cached) {
    await body.close()
    return respondEmpty(exchange, 304, validators(digest))
  }
  if (!part) {
    await body.close()
    throw unsatisfiable(size ?? 0)
  }
  const partial = range !== undefined && size !== undefined
  writeHead(exchange, partial ? 206 : 200, {
    ...representation(digest),
    // A body of unknown size is sent with chunked encoding.
    ...(size === undefined ? {} : { 'content-length': part.length }),
    ...(partial ? { 'content-range': contentRange(part, size) } : {})
  })
  // The first bytes of a fill may take longer than the client's timeout for the head.
  if (served.outcome !== 'hit') response.flushHeaders()
  record.promised = size === undefined ? 0 : part.length
  record.sent = await sendBody(transfers, response, body, part)
}

/** end-10: removes the repository's link to the blob. */
export async function deleteBlob(exchange: Exchange, name: Name, digest: Digest): Promise<void> {
  await sinkOf(exchange).deleteBlob(name, digest)
  await exchange.audit({ action: 'delete', name, old: digest })
  respondEmpty(exchange, 202)
}

function validators(digest: Digest): Record<string, string> {
  return { etag: etagOf(digest), 'docker-content-digest': digest, 'cache-control': 'max-age=31536000, immutable' }
}

function representation(digest: Digest): Record<string, string> {
  return { ...validators(digest), 'content-type': mediaTypes.blob, 'accept-ranges': 'bytes' }
}

function unsatisfiable(size: number): OciError {
  const detail = { reason: 'the range lies outside of the blob', size }
  return new OciError('SIZE_INVALID', { status: 416, detail, headers: { 'content-range': `bytes */${size}` } })
}
