import { randomUUID } from 'node:crypto'
import type { IncomingHttpHeaders } from 'node:http'

const field = 'x-registry-agent'
// Of this process.
const id = randomUUID()

/** The field of each request that this agent makes. */
export const ownRequest: Readonly<Record<string, string>> = { [field]: id }

/** Whether a request was made by this agent: a replica of its settings leads back to it. */
export function isOwnRequest(headers: IncomingHttpHeaders): boolean {
  return headers[field] === id
}
