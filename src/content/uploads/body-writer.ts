import type { Writer } from '../../../storage/storage.ts'
import { forEachChunk } from '../chunks.ts'

// Few large writes cost less than many small ones.
const maxWriteBytes = 1024 * 1024
const minWriteBytes = 64 * 1024
// What all requests together keep in memory for that.
const maxGatheredBytes = 8 * 1024 * 1024

/** The body of a request was truncated. The bytes that arrived are kept. */
export class BodyBrokenError extends Error {
  constructor(cause: unknown) {
    super('the body ended before it was complete', { cause })
    this.name = 'BodyBrokenError'
  }
}

/**
 * Writes a body while it arrives, in large writes: one is under way while the next is gathered. `onChunk` gets each
 * chunk once, in order, and may throw to end the body. Rejects with a BodyBrokenError if the body is truncated, after
 * what arrived was written.
 */
export type BodyWriter = (
  body: AsyncIterable<Uint8Array>,
  onChunk: (chunk: Uint8Array) => void,
  writer: Writer,
  signal: AbortSignal
) => Promise<void>

/** A body writer whose requests share one bound on memory. */
export function createBodyWriter(): BodyWriter {
  let requests = 0
  return async (body, onChunk, writer, signal) => {
    requests++
    let writing: Promise<void> = Promise.resolve()
    let chunks: Uint8Array[] = []
    let bytes = 0
    const flush = async () => {
      await writing
      writing = writer.write(chunks, signal)
      // Observed by the next flush; a rejection must not count as unhandled until then.
      writing.catch(() => {})
      chunks = []
      bytes = 0
    }
    const broken = (cause: unknown) => new BodyBrokenError(cause)
    try {
      await forEachChunk(body, broken, chunk => {
        if (signal.aborted) throw broken(signal.reason)
        onChunk(chunk)
        chunks.push(chunk)
        bytes += chunk.length
        return bytes >= Math.max(minWriteBytes, Math.min(maxWriteBytes, maxGatheredBytes / requests / 2)) ? flush() : undefined
      })
      await flush()
      await writing
    } catch (error) {
      if (error instanceof BodyBrokenError) await flush()
      await writing
      throw error
    } finally {
      requests--
    }
  }
}
