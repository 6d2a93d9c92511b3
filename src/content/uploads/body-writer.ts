import type { Writer } from '../../../storage/storage.ts'
import { BodyBrokenError } from './broken.ts'

// Few large writes cost less than many small ones; what all requests together hold back in memory is bounded.
const most = 1024 * 1024
const least = 64 * 1024
const together = 8 * 1024 * 1024

/**
 * Writes a body as it comes: `seen` gets each chunk once, in order, and may throw to end it; one write is under way while the next is gathered. Rejects with a
 * BodyBrokenError after what arrived was written, if the body breaks off.
 */
export type BodyWriter = (
  body: AsyncIterable<Uint8Array>,
  seen: (chunk: Uint8Array) => void,
  writer: Writer,
  signal: AbortSignal
) => Promise<void>

/** A gatherer whose requests share one bound on memory. */
export function createBodyWriter(): BodyWriter {
  let running = 0
  return async (body, seen, writer, signal) => {
    running++
    let writing: Promise<void> = Promise.resolve()
    let chunks: Uint8Array[] = []
    let bytes = 0
    const flush = async () => {
      await writing
      writing = writer.write(chunks, signal)
      // Observed later; a rejection must not count as unhandled meanwhile.
      writing.catch(() => {})
      chunks = []
      bytes = 0
    }
    try {
      for await (const chunk of readable(body)) {
        if (signal.aborted) throw new BodyBrokenError(signal.reason)
        seen(chunk)
        chunks.push(chunk)
        bytes += chunk.length
        if (bytes >= Math.max(least, Math.min(most, together / running / 2))) await flush()
      }
      await flush()
      await writing
    } catch (error) {
      if (error instanceof BodyBrokenError) await flush()
      await writing
      throw error
    } finally {
      running--
    }
  }
}

// Errors of the body, told apart from those of the disk.
async function* readable(body: AsyncIterable<Uint8Array>): AsyncIterable<Uint8Array> {
  try {
    yield* body
  } catch (error) {
    throw new BodyBrokenError(error)
  }
}
