import { mediaTypes } from '../oci/descriptor.ts'
import type { Digest } from '../oci/digest.ts'
import { OciError } from '../oci/errors.ts'
import type { Name } from '../oci/name.ts'
import { type Exchange, nextLink, pageRequest, respondBytes } from './exchange.ts'
import { setServed } from './headers.ts'
import { listPullableNames } from './pullable-names.ts'

const json = { 'content-type': 'application/json' }

/** end-8a and end-8b. Without `n` the list is complete: clients that do not know `Link` take a page for the whole. */
export async function listTags(exchange: Exchange, name: Name): Promise<void> {
  const page = pageRequest(exchange, badList)
  const served = await exchange.backend.listTags(name, page, exchange.signal)
  exchange.record.outcome = served.outcome
  setServed(exchange.response, served)
  const link = nextLink(exchange, `/v2/${name}/tags/list`, served.value, page)
  return respondBytes(exchange, 200, { ...json, ...link }, encode({ name, tags: served.value.items }))
}

/** The catalog extension: names of the repositories that may be pulled from, paged like tags. */
export async function listNames(exchange: Exchange): Promise<void> {
  const page = pageRequest(exchange, badList)
  const served = await listPullableNames(exchange, page)
  exchange.record.outcome = served.outcome
  setServed(exchange.response, served)
  const link = nextLink(exchange, '/v2/_catalog', served.value, page)
  return respondBytes(exchange, 200, { ...json, ...link }, encode({ repositories: served.value.items }))
}

/** end-12a and end-12b: an image index of descriptors. */
export async function listReferrers(exchange: Exchange, name: Name, subject: Digest): Promise<void> {
  const page = pageRequest(exchange, badList)
  const artifactType = exchange.query.get('artifactType')
  const want = { ...page, ...(artifactType ? { artifactType } : {}) }
  const served = await exchange.backend.listReferrers(name, subject, want, exchange.signal)
  exchange.record.outcome = served.outcome
  setServed(exchange.response, served)
  const headers = {
    'content-type': mediaTypes.ociIndex,
    ...(artifactType ? { 'oci-filters-applied': 'artifactType' } : {}),
    ...nextLink(exchange, `/v2/${name}/referrers/${subject}`, served.value, page)
  }
  return respondBytes(exchange, 200, headers, encode({ schemaVersion: 2, mediaType: mediaTypes.ociIndex, manifests: served.value.items }))
}

/** The discovery endpoint: lists the extensions of the distribution-spec that are served. */
export function discover(exchange: Exchange): Promise<void> | void {
  const extensions = [
    { name: '_catalog', description: 'names of repositories, paged by n and last', url: '/v2/_catalog' },
    { name: '_oci', description: 'discovery of extensions', url: '/v2/_oci/ext/discover' }
  ]
  return respondBytes(exchange, 200, json, encode({ extensions }))
}

function encode(value: unknown): Buffer {
  return Buffer.from(JSON.stringify(value))
}

function badList(reason: string): OciError {
  return new OciError('UNSUPPORTED', { status: 400, detail: { reason } })
}
