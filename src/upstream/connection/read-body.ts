import type { ResponseBody } from './response-body.ts'

const maxDrainedBytes = 65_536

/** The body has more bytes than were allowed. */
export class BodyTooLong extends Error {
  readonly limit: number

  constructor(limit: number) {
    super(`more than ${limit} bytes`)
    this.name = 'TooLong'
    this.limit = limit
  }
}

/** Reads a whole body, which is destroyed where it exceeds `limit`. */
export async function readBytes(body: ResponseBody, limit: number): Promise<Buffer> {
  const chunks: Buffer[] = []
  let length = 0
  for await (const chunk of body) {
    length += chunk.length
    if (length > limit) throw new BodyTooLong(limit)
    chunks.push(chunk)
  }
  return Buffer.concat(chunks)
}

/** Reads what no one wants to its end, so that the connection can be used again; what is long or breaks is given up. */
export async function drain(body: ResponseBody): Promise<void> {
  await readBytes(body, maxDrainedBytes).catch(() => {})
}

/** Gives up a body; its connection is closed with it. */
export function abandon(body: ResponseBody): void {
  body.destroy()
}
