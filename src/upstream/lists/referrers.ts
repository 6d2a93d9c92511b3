import type { Descriptor } from '../../oci/descriptor.ts'
import { type Digest, isDigest } from '../../oci/digest.ts'
import { parseTag } from '../../oci/name.ts'
import type { Page, PageRequest } from '../../oci/source.ts'
import type { UpstreamRequest } from '../endpoint-client.ts'
import { UpstreamError } from '../error.ts'
import type { FailoverClient } from '../failover.ts'
import { fetchJson } from '../manifests.ts'
import { listReader, type ParseItems, readPage } from './list-page.ts'
import { readAllPages } from './names.ts'
import { sortUnique } from './sort-unique.ts'

/** Which of a subject's referrers are wanted. */
export type ReferrersWanted = PageRequest & { artifactType?: string }

/**
 * Descriptors of the manifests whose subject is `subject`, ordered by digest; empty for an unknown one
 * (distribution-spec, "Listing Referrers").
 */
export async function listReferrers(
  client: FailoverClient,
  name: string,
  subject: Digest,
  wanted: ReferrersWanted & { signal: AbortSignal }
): Promise<Page<Descriptor>> {
  const all = (await fromApi(client, name, subject, wanted)) ?? (await fromTag(client, name, subject, wanted.signal))
  return select(await sortUnique(all, each => each.digest), wanted)
}

async function fromApi(
  client: FailoverClient,
  name: string,
  subject: Digest,
  { artifactType, signal }: ReferrersWanted & { signal: AbortSignal }
): Promise<Descriptor[] | undefined> {
  const query = artifactType === undefined ? '' : `?${new URLSearchParams({ artifactType })}`
  const path = `/v2/${name}/referrers/${subject}${query}`
  const request: UpstreamRequest = { resource: 'referrers', method: 'GET', path, scope: `repository:${name}:pull` }
  try {
    return await client.run(request, signal, async answer => {
      using reader = listReader(client)
      const first = await readPage(answer, { reader, parse: parseIndex, path })
      return readAllPages(client, request, first, { answer, reader, parse: parseIndex, signal })
    })
  } catch (error) {
    if (error instanceof UpstreamError && error.kind === 'not-found') return undefined
    throw error
  }
}

// Without a referrers API clients keep the list under a tag (distribution-spec, "Referrers Tag Schema").
async function fromTag(client: FailoverClient, name: string, subject: Digest, signal: AbortSignal): Promise<Descriptor[]> {
  const [algorithm = '', encoded = ''] = subject.split(':')
  const tag = parseTag(`${algorithm.slice(0, 32)}-${encoded.slice(0, 64)}`)
  try {
    const fetched = await fetchJson(client, name, { tag }, { signal })
    return fetched === 'not-modified' ? [] : (parseIndex(fetched.json) ?? [])
  } catch (error) {
    if (error instanceof UpstreamError && error.kind === 'not-found') return []
    throw error
  }
}

const parseIndex: ParseItems<Descriptor> = ({ manifests }) =>
  Array.isArray(manifests) ? manifests.flatMap(each => parseDescriptor(each) ?? []) : undefined

function parseDescriptor(value: unknown): Descriptor | undefined {
  if (typeof value !== 'object' || value === null) return undefined
  const { mediaType, digest, size, artifactType, annotations } = value as Record<string, unknown>
  if (typeof mediaType !== 'string' || typeof digest !== 'string' || !isDigest(digest)) return undefined
  if (typeof size !== 'number' || !Number.isSafeInteger(size) || size < 0) return undefined
  return {
    mediaType,
    digest,
    size,
    ...(typeof artifactType === 'string' ? { artifactType } : {}),
    ...(isTexts(annotations) ? { annotations } : {})
  }
}

function isTexts(value: unknown): value is Record<string, string> {
  return (
    typeof value === 'object' && value !== null && !Array.isArray(value) && Object.values(value).every(each => typeof each === 'string')
  )
}

// Filtered again: an upstream may ignore `artifactType`.
function select(all: Descriptor[], { n, last = '', artifactType }: ReferrersWanted): Page<Descriptor> {
  const after = all.filter(each => each.digest > last && (artifactType === undefined || each.artifactType === artifactType))
  const items = after.slice(0, n)
  const end = items.at(-1)
  return items.length < after.length && end ? { items, next: end.digest } : { items }
}
