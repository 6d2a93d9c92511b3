import { once } from 'node:events'
import type { ServerResponse } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'

/** How a body misbehaves; positions count from the blob's first byte. */
export interface BodyFaults {
  bytesPerSecond?: number | undefined
  cutAt?: number | undefined
  wrongByte?: number | undefined
  /** Holds the body back from this byte on until it resolves. */
  hold?: { at: number; until: Promise<unknown> } | undefined
  /** What follows the last byte instead of the end: the bytes again, or nothing. */
  unfinished?: 'again' | 'open' | undefined
  /** Where bytes are counted. */
  seen: { bytes: number }
}

const piece = 64 * 1024

/** Sends `bytes`, which begin at `offset` of the blob, and ends the response unless it was cut. */
export async function sendBody(response: ServerResponse, bytes: Buffer, offset: number, faults: BodyFaults): Promise<void> {
  const body = corrupted(bytes, offset, faults.wrongByte)
  const { bytesPerSecond, hold, cutAt, seen, unfinished } = faults
  const step = bytesPerSecond === undefined ? piece : Math.max(1, Math.min(piece, Math.floor(bytesPerSecond / 20)))
  const started = Date.now()
  let sent = 0
  while (sent < body.length && !response.destroyed) {
    const at = offset + sent
    if (hold && at === hold.at) await hold.until
    const stops = [cutAt, hold?.at].filter((each): each is number => each !== undefined && each > at)
    const end = Math.min(sent + step, body.length, ...stops.map(each => each - offset))
    if (cutAt !== undefined && at === cutAt) return cut(response)
    if (!response.write(body.subarray(sent, end))) await drained(response)
    seen.bytes += end - sent
    sent = end
    if (bytesPerSecond !== undefined) await sleep(Math.max(0, (sent / bytesPerSecond) * 1000 - (Date.now() - started)))
  }
  if (cutAt !== undefined && offset + sent === cutAt) cut(response)
  else if (unfinished === 'again' && !response.destroyed) await sendBody(response, bytes, offset, faults)
  else if (unfinished === undefined) response.end()
}

async function drained(response: ServerResponse): Promise<void> {
  const either = new AbortController()
  const { signal } = either
  const waiting = [once(response, 'drain', { signal }), once(response, 'close', { signal })]
  for (const each of waiting) each.catch(() => {})
  await Promise.race(waiting).finally(() => either.abort())
}

// What was written before reaches the client first.
function cut(response: ServerResponse): void {
  const { socket } = response
  socket?.end(() => socket.destroy())
}

function corrupted(bytes: Buffer, offset: number, at: number | undefined): Buffer {
  if (at === undefined || at < offset || at >= offset + bytes.length) return bytes
  const copy = Buffer.from(bytes)
  copy[at - offset] = (copy[at - offset] ?? 0) ^ 0xff
  return copy
}
