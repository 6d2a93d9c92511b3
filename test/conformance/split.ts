import type { IncomingMessage } from 'node:http'
import type { Relay } from '../e2e/relay.ts'
import { startRelay } from '../e2e/relay.ts'

/** A server in front of two registries. */
export interface Split extends Relay {
  /** Requests so far. */
  readonly counts: { readonly writes: number; readonly reads: number }
}

/**
 * Sends what writes (with everything about upload sessions) to one registry and what reads to the other, and changes nothing on the way. The suite tests only what it has
 * pushed itself, and Direct and Proxy cannot be pushed to.
 */
export async function startSplit(writes: string, reads: string): Promise<Split> {
  const counts = { writes: 0, reads: 0 }
  const relay = await startRelay(incoming => {
    const write = isWrite(incoming)
    counts[write ? 'writes' : 'reads']++
    return write ? writes : reads
  })
  return { ...relay, counts }
}

function isWrite({ method = '', url = '' }: IncomingMessage): boolean {
  return !['GET', 'HEAD'].includes(method) || /\/blobs\/uploads\//.test(url)
}
