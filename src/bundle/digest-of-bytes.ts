import { algorithmOf, createDigester, type Digest } from '../oci/digest.ts'
import type { PositionedBytes } from './tar/entries.ts'

// The digest of one piece is computed while the next one is read.
const pieceBytes = 1024 * 1024

/**
 * The digest, of the algorithm of `expected`, of `size` bytes from `offset` on; of fewer where the bytes end before.
 * `onBytes` is told of each piece.
 */
export async function digestOfBytes(
  expected: Digest,
  { bytes, offset, size }: { bytes: PositionedBytes; offset: number; size: number },
  { onBytes = () => {}, signal }: { onBytes?: (bytes: number) => void; signal: AbortSignal }
): Promise<Digest> {
  const digester = createDigester(algorithmOf(expected))
  const buffers = [0, 1].map(() => Buffer.allocUnsafe(Math.min(pieceBytes, Math.max(size, 1)))) as [Buffer, Buffer]
  const readAt = (position: number, into: Buffer) => {
    const length = Math.min(into.length, size - position)
    return length <= 0 ? Promise.resolve(0) : bytes.read(into.subarray(0, length), offset + position)
  }
  let [current, other] = buffers
  for (let position = 0, read = await readAt(0, current); read > 0; ) {
    signal.throwIfAborted()
    const next = readAt(position + read, other)
    digester.update(current.subarray(0, read))
    onBytes(read)
    position += read
    read = await next
    ;[current, other] = [other, current]
  }
  return digester.digest()
}
