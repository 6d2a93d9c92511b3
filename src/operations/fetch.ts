import { setTimeout as delay } from 'node:timers/promises'
import type { Backend } from '../backend/backend.ts'
import type { Digest } from '../oci/digest.ts'
import { OciError } from '../oci/errors.ts'
import type { Name } from '../oci/name.ts'
import { abortable } from '../upstream/single-flight.ts'

/** What brings content into the cache: the same backends and downloads that clients use. */
export interface Fetcher {
  /** Undefined for a host that is not served; the registry itself without one. */
  backendFor(host: string | undefined): Backend | undefined
  /** Resolves when the download of `digest` has ended, at once if there is none. */
  filled(digest: Digest): Promise<unknown>
}

// A download that failed is tried again; one that found no place waits for one.
const attempts = { failed: 3, full: 30 }
const pause = 500

/** Has a blob stored, by a download that clients share; resolves to whether it had been. Rejects if it cannot be. */
export async function fetchBlob(
  backend: Backend,
  { name, digest }: { name: Name; digest: Digest },
  filled: Fetcher['filled'],
  signal: AbortSignal
): Promise<'here' | 'fetched'> {
  const left = { ...attempts }
  for (let first = true; left.failed > 0 && left.full > 0; first = false) {
    signal.throwIfAborted()
    const { value, outcome } = await backend.openBlob(name, digest, { signal })
    await value.body.close()
    if (outcome === 'hit') return first ? 'here' : 'fetched'
    if (outcome === 'bypass') {
      left.full--
      await delay(pause, undefined, { signal })
    } else {
      left.failed--
      await abortable(filled(digest), signal)
    }
  }
  throw new Error(left.full === 0 ? 'the cache takes nothing at the moment' : 'the download failed; the log says why')
}

/** Why something could not be had, in one line. */
export function reasonOf(error: unknown): string {
  const { message, cause } = error as Error
  const detail = error instanceof OciError ? (error.detail as { reason?: unknown } | undefined) : undefined
  const why = typeof detail?.reason === 'string' ? detail.reason : cause instanceof Error ? cause.message : undefined
  return why === undefined ? message : `${message}: ${why}`
}
