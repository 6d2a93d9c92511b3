import type { Backend } from '../backend/backend.ts'
import { nameBelow } from '../backend/name-mapping.ts'
import type { Name } from '../oci/name.ts'
import type { Damaged } from './events.ts'
import { type Fetcher, fetchBlob } from './fetch.ts'

/** Fetches what is damaged through the caches to which its repositories belong; resolves to whether one gave it, rejects if all of them failed. */
export async function refetch(
  { digest, kind, names }: Pick<Damaged, 'digest' | 'kind' | 'names'>,
  fetcher: Fetcher & { hosts: readonly string[] },
  signal: AbortSignal
): Promise<boolean> {
  if (!digest) return false
  let failure: unknown
  for (const kept of names) {
    const { backend, name } = cacheOf(kept, fetcher)
    if (backend?.mode !== 'Proxy') continue
    try {
      if (kind === 'manifest') await backend.getManifest(name, { digest }, { signal })
      else await fetchBlob(backend, { name, digest }, each => fetcher.filled(each), signal)
      return true
    } catch (error) {
      failure = error
    }
  }
  if (failure !== undefined) throw failure
  return false
}

function cacheOf(kept: Name, { backendFor, hosts }: Fetcher & { hosts: readonly string[] }): { backend: Backend | undefined; name: Name } {
  for (const host of hosts) {
    const name = nameBelow(host, kept)
    if (name !== undefined) return { backend: backendFor(host), name }
  }
  return { backend: backendFor(undefined), name: kept }
}
