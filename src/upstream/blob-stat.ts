import { type Digest, isDigest } from '../oci/digest.ts'
import { fieldOf, isHtml, isJson, lengthOf } from './connection/headers.ts'
import { abandon, drain } from './connection/read-body.ts'
import type { UpstreamRequest, UpstreamResponse } from './endpoint-client.ts'
import type { FailoverClient } from './failover.ts'
import { unusableResponse } from './failure.ts'
import { headOrGet } from './health/head-refusals.ts'

/** The request for a blob (end-2). */
export function blobRequest(method: 'GET' | 'HEAD', name: string, digest: Digest): UpstreamRequest {
  return { resource: 'blob', method, path: `/v2/${name}/blobs/${digest}`, scope: `repository:${name}:pull` }
}

/** UpstreamError for a login page in place of a blob that is not read, or not as a whole. */
export function checkNoPage(answer: UpstreamResponse): void {
  if (answer.headers['docker-content-digest'] === undefined && isHtml(answer.headers))
    throw unusableResponse('invalid', 'the response is a page, and no blob', answer)
}

/**
 * UpstreamError for the answer of a replica that cannot be the blob. Its head is passed on before its bytes are
 * verified, while another replica may have the blob.
 */
export function checkReplica(answer: UpstreamResponse, digest: string): void {
  const { headers } = answer
  const named = fieldOf(headers, 'docker-content-digest')
  if (named !== undefined && isDigest(named) && named !== digest && named.split(':')[0] === digest.split(':')[0])
    throw unusableResponse('broken', `wrong digest: the response names ${named}`, answer, 'DIGEST')
  if (named === undefined && (isHtml(headers) || isJson(headers)))
    throw unusableResponse('invalid', 'the response is a page, and no blob', answer)
}

/**
 * Checks that a blob exists, by HEAD or else by a GET whose body is not read. `size` is in bytes, absent if the
 * upstream does not tell it.
 */
export async function checkBlob(client: FailoverClient, name: string, digest: Digest, signal: AbortSignal): Promise<{ size?: number }> {
  const stat = async (method: 'GET' | 'HEAD') => {
    const size = await client.run(blobRequest(method, name, digest), signal, async answer => {
      if (method === 'HEAD') await drain(answer.body)
      else abandon(answer.body)
      checkNoPage(answer)
      if (client.replicas) checkReplica(answer, digest)
      return lengthOf(answer.headers)
    })
    return size === undefined ? {} : { size }
  }
  return headOrGet(client, 'blob', {
    head: async () => {
      const found = await stat('HEAD')
      return found.size === undefined ? undefined : found
    },
    get: () => stat('GET')
  })
}
