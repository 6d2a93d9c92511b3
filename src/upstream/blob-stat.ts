import type { Digest } from '../oci/digest.ts'
import { lengthOf } from './connection/headers.ts'
import { abandon, drain } from './connection/read-body.ts'
import type { UpstreamRequest } from './endpoint-client.ts'
import { UpstreamError } from './error.ts'
import type { FailoverClient } from './failover.ts'

// Some registries demand rights for HEAD that no user has, and object storage behind them may have signed the URL for
// GET only.
const refusals: readonly (number | undefined)[] = [401, 403, 405, 501]

/** Whether a GET may succeed where the upstream refused a HEAD. */
export function isHeadRefused(error: unknown): boolean {
  return error instanceof UpstreamError && error.code !== 'TOKEN' && refusals.includes(error.status)
}

/** The request for a blob (end-2). */
export function blobRequest(method: 'GET' | 'HEAD', name: string, digest: Digest): UpstreamRequest {
  return { resource: 'blob', method, path: `/v2/${name}/blobs/${digest}`, scope: `repository:${name}:pull` }
}

/**
 * Checks that a blob exists, by HEAD or else by a GET whose body is not read. `size` is in bytes, absent if the
 * upstream does not tell it.
 */
export async function checkBlob(client: FailoverClient, name: string, digest: Digest, signal: AbortSignal): Promise<{ size?: number }> {
  const stat = async (method: 'GET' | 'HEAD') => {
    const size = await client.run(blobRequest(method, name, digest), signal, async ({ headers, body }) => {
      if (method === 'HEAD') await drain(body)
      else abandon(body)
      return lengthOf(headers)
    })
    return size === undefined ? {} : { size }
  }
  try {
    const found = await stat('HEAD')
    if (found.size !== undefined) return found
  } catch (error) {
    if (!isHeadRefused(error)) throw error
  }
  return stat('GET')
}
