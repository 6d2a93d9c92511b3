import type { ResponseBody } from './response-body.ts'

const maxDrainedBytes = 65_536

/** A body is longer than its limit. */
export class BodyTooLong extends Error {
  readonly limitBytes: number

  constructor(limitBytes: number) {
    super(`more than ${limitBytes} bytes`)
    this.name = 'TooLong'
    this.limitBytes = limitBytes
  }
}

/** Reads a whole body; BodyTooLong past `limitBytes`. */
export async function readBytes(body: ResponseBody, limitBytes: number): Promise<Buffer> {
  const chunks: Buffer[] = []
  let length = 0
  for await (const chunk of body) {
    length += chunk.length
    if (length > limitBytes) throw new BodyTooLong(limitBytes)
    chunks.push(chunk)
  }
  return Buffer.concat(chunks)
}

/** Discards a short body, so that its connection can be reused; a long one is abandoned. */
export async function drain(body: ResponseBody): Promise<void> {
  await readBytes(body, maxDrainedBytes).catch(() => {})
}

/** Abandons a body and closes its connection. */
export function abandon(body: ResponseBody): void {
  body.destroy()
}
