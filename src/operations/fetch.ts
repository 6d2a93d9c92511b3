import { setTimeout as delay } from 'node:timers/promises'
import type { Backend } from '../backend/backend.ts'
import { nameBelow } from '../backend/name-mapping.ts'
import type { Digest } from '../oci/digest.ts'
import { OciError } from '../oci/errors.ts'
import type { Name } from '../oci/name.ts'
import { abortable } from '../upstream/single-flight.ts'
import type { DamageEvent } from './events.ts'

/** Brings content into the cache, by the same backends and fills that clients use. */
export interface Fetcher {
  /** The backend of a host of `registry.upstreams`, or the registry's own; undefined for a host that is not served. */
  backendFor(host: string | undefined): Backend | undefined
  /** Resolves when the fill of `digest` has ended, at once if there is none. */
  filled(digest: Digest): Promise<unknown>
}

// A failed fill is repeated; one for which there was no capacity waits for it.
const maxAttempts = { failed: 3, full: 30 }
const retryDelayMs = 500

/**
 * Stores a blob by a fill that clients may share, and resolves to whether it was stored before. Rejects if it fails.
 */
export async function fetchBlob(
  backend: Backend,
  { name, digest }: { name: Name; digest: Digest },
  filled: Fetcher['filled'],
  signal: AbortSignal
): Promise<'here' | 'fetched'> {
  const left = { ...maxAttempts }
  for (let first = true; left.failed > 0 && left.full > 0; first = false) {
    signal.throwIfAborted()
    const { value, outcome } = await backend.openBlob(name, digest, { signal })
    await value.body.close()
    if (outcome === 'hit') return first ? 'here' : 'fetched'
    if (outcome === 'bypass') {
      left.full--
      await delay(retryDelayMs, undefined, { signal })
    } else {
      left.failed--
      await abortable(filled(digest), signal)
    }
  }
  throw new Error(left.full === 0 ? 'the cache has no capacity for it at the moment' : 'the download failed; the log says why')
}

/**
 * Fetches damaged content again, by the cache of each repository that has it until one succeeds. Resolves to whether
 * one did; rejects if all of them failed.
 */
export async function refetch(
  { digest, kind, names }: Pick<DamageEvent, 'digest' | 'kind' | 'names'>,
  fetcher: Fetcher & { hosts: readonly string[] },
  signal: AbortSignal
): Promise<boolean> {
  if (!digest) return false
  let failure: unknown
  for (const stored of names) {
    const { backend, name } = cacheOf(stored, fetcher)
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

function cacheOf(
  stored: Name,
  { backendFor, hosts }: Fetcher & { hosts: readonly string[] }
): { backend: Backend | undefined; name: Name } {
  for (const host of hosts) {
    const name = nameBelow(host, stored)
    if (name !== undefined) return { backend: backendFor(host), name }
  }
  return { backend: backendFor(undefined), name: stored }
}

/** An error in one line, with its cause. */
export function reasonOf(error: unknown): string {
  const { message, cause } = error as Error
  const detail = error instanceof OciError ? (error.detail as { reason?: unknown } | undefined) : undefined
  const reason = typeof detail?.reason === 'string' ? detail.reason : cause instanceof Error ? cause.message : undefined
  return reason === undefined ? message : `${message}: ${reason}`
}
