import { digestOf } from '../long/client.ts'
import type { WireAnswer } from './wire.ts'

// The distribution-spec's list ("Error Codes").
const codes = new Set([
  'BLOB_UNKNOWN',
  'BLOB_UPLOAD_INVALID',
  'BLOB_UPLOAD_UNKNOWN',
  'DIGEST_INVALID',
  'MANIFEST_BLOB_UNKNOWN',
  'MANIFEST_INVALID',
  'MANIFEST_UNKNOWN',
  'NAME_INVALID',
  'NAME_UNKNOWN',
  'SIZE_INVALID',
  'UNAUTHORIZED',
  'DENIED',
  'UNSUPPORTED',
  'TOOMANYREQUESTS'
])

/** How often each status was answered: tells whether the requests reached what they were meant to reach. */
export type Statuses = Map<number, number>

/** Throws unless an answer is one that a client can rely on, whatever it was that was asked. */
export function judge(method: string, answer: WireAnswer, statuses: Statuses): void {
  const { status, headers, body, cut } = answer
  statuses.set(status, (statuses.get(status) ?? 0) + 1)
  if (status >= 500) throw new Error(`answered with ${status} ${body}`)
  if (cut) throw new Error(`the answer ${status} was cut short after ${body.length} bytes of ${headers.get('content-length')}`)
  if (status >= 400 && method !== 'HEAD') judgeError(answer)
  const digest = headers.get('docker-content-digest')
  // Other bytes than those of the digest are never an answer.
  if (status === 200 && method === 'GET' && digest !== undefined) {
    const actual = digestOf(body, digest.startsWith('sha512') ? 'sha512' : 'sha256')
    if (actual !== digest) throw new Error(`${digest} was answered with the bytes of ${actual}`)
  }
}

function judgeError({ status, headers, body }: WireAnswer): void {
  const type = headers.get('content-type') ?? ''
  if (!type.startsWith('application/json')) throw new Error(`the answer ${status} is of type ${type}: ${body}`)
  const { errors } = JSON.parse(body.toString()) as { errors?: { code?: unknown }[] }
  if (!Array.isArray(errors) || errors.length === 0) throw new Error(`the answer ${status} has no list of errors: ${body}`)
  for (const { code } of errors) {
    if (typeof code !== 'string' || !codes.has(code)) throw new Error(`the answer ${status} has the unknown code ${String(code)}`)
  }
}
