import type { Arbitrary } from 'fast-check'
import { array, boolean, constantFrom, nat, oneof, record, tuple, uint8Array } from 'fast-check'
import { digestOf } from '../long/client.ts'
import type { FuzzRequest } from './message.ts'
import type { Judged } from './place.ts'
import { scratch } from './requests.ts'
import type { WireAnswer } from './wire.ts'

/** One request to an upload session. `shift` is how far its Content-Range is off; undefined: there is none. */
export interface Step {
  method: 'PATCH' | 'PUT' | 'GET' | 'DELETE' | 'HEAD' | 'POST'
  body: Uint8Array
  shift: number | undefined
  length: number
  digest: 'right' | 'wrong' | 'absent' | 'garbage'
  framing: FuzzRequest['framing']
}

const step: Arbitrary<Step> = record({
  method: constantFrom('PATCH', 'PATCH', 'PATCH', 'PATCH', 'GET', 'PUT', 'DELETE', 'HEAD', 'POST'),
  body: oneof(
    uint8Array({ maxLength: 50 }),
    nat(70_000).map(size => new Uint8Array(size))
  ),
  shift: constantFrom(undefined, undefined, 0, 0, 0, 1, -1, 1000),
  length: constantFrom(0, 0, 0, 1, -1, 100),
  digest: constantFrom('right', 'right', 'wrong', 'absent', 'garbage'),
  framing: constantFrom('length', 'chunked')
})

/** What is done to one session, and whether it is ended as it should be afterwards. */
export const sequences: Arbitrary<[Step[], boolean]> = tuple(array(step, { minLength: 1, maxLength: 7 }), boolean())

/** The statuses that an upload session may answer with. */
const allowed = new Set([201, 202, 204, 400, 404, 405, 416])

/** Does what the sequence says and keeps account of the bytes that were accepted; throws where the registry disagrees. */
export async function upload(judged: Judged, [steps, completed]: [Step[], boolean]): Promise<void> {
  const request = { headers: [], body: new Uint8Array(), framing: 'length' } as const
  const started = await judged.send({ ...request, headers: [], method: 'POST', target: `/v2/${scratch}/blobs/uploads/` })
  const path = started.headers.get('location') ?? ''
  let bytes = Buffer.alloc(0)
  let over = false
  for (const each of steps) {
    const whole = Buffer.concat([bytes, each.body])
    const answer = await judged.send(encodeStep(each, path, bytes.length, whole))
    if (!allowed.has(answer.status)) throw new Error(`${each.method} answered ${answer.status} ${answer.body}`)
    if (over && answer.status < 400) throw new Error(`the session is over, and ${each.method} answered ${answer.status}`)
    if (answer.status === 202 && each.method === 'PATCH') bytes = whole
    if (answer.status === 201) await readBack(judged, whole)
    const ends =
      answer.status === 201 || (each.method === 'DELETE' && answer.status === 204) || (each.method === 'PUT' && answer.status === 400)
    over ||= ends && !(await isOpen(judged, path))
    if (!over) await checkOffset(judged, path, bytes)
  }
  if (over || !completed) return
  const target = `${path}?digest=${digestOf(bytes)}`
  const last = await judged.send({ ...request, headers: [], method: 'PUT', target })
  if (last.status !== 201) throw new Error(`the last PUT answered ${last.status} ${last.body}`)
  await readBack(judged, bytes)
}

function encodeStep({ method, body, shift, length, digest, framing }: Step, path: string, offset: number, whole: Buffer): FuzzRequest {
  const first = Math.max(0, offset + (shift ?? 0))
  const headers: [string, string][] = shift === undefined ? [] : [['content-range', `${first}-${first + body.length - 1 + length}`]]
  const texts = { right: digestOf(whole), wrong: digestOf(Buffer.from('wrong')), garbage: 'sha256:../..', absent: '' }
  const query = method === 'PUT' && digest !== 'absent' ? `?digest=${texts[digest]}` : ''
  const bodiless = method === 'GET' || method === 'HEAD' || method === 'DELETE'
  return { method, target: path + query, headers: bodiless ? [] : headers, body: bodiless ? new Uint8Array() : body, framing }
}

async function isOpen(judged: Judged, path: string): Promise<boolean> {
  return (await getStatus(judged, path)).status === 204
}

async function checkOffset(judged: Judged, path: string, bytes: Buffer): Promise<void> {
  const { status, headers } = await getStatus(judged, path)
  const range = `0-${Math.max(0, bytes.length - 1)}`
  if (status !== 204 || headers.get('range') !== range) {
    throw new Error(`the session answered ${status} with Range ${headers.get('range')}, but ${bytes.length} bytes were accepted`)
  }
}

async function readBack(judged: Judged, bytes: Buffer): Promise<void> {
  const target = `/v2/${scratch}/blobs/${digestOf(bytes)}`
  const { status, body } = await judged.send({ method: 'GET', target, headers: [], body: new Uint8Array(), framing: 'length' })
  if (status !== 200 || !body.equals(bytes))
    throw new Error(`what was accepted with 201 is read back with ${status} and ${body.length} bytes`)
}

function getStatus(judged: Judged, path: string): Promise<WireAnswer> {
  return judged.send({ method: 'GET', target: path, headers: [], body: new Uint8Array(), framing: 'length' })
}
