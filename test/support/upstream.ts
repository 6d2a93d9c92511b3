import { once } from 'node:events'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Test } from 'tap'
import { AuthDesk, type UpstreamAuth } from './upstream-auth.ts'
import { sendBody } from './upstream-body.ts'
import { indexType, manifestType, UpstreamContent } from './upstream-content.ts'

export { digestOf, indexType, manifestType, UpstreamContent } from './upstream-content.ts'

/** A request as the server saw it. */
export interface SeenRequest {
  method: string
  path: string
  query: string
  range: string | undefined
  authorization: string | undefined
  headers: IncomingMessage['headers']
  /** Milliseconds since the epoch. */
  at: number
  /** The client's port: one per connection. */
  port: number | undefined
  /** Bytes of a blob that were handed to the connection. */
  bytes: number
}

/** An answer in place of the real one. */
export interface StatusFault {
  status: number
  /** How often; always if left out. */
  times?: number
  headers?: Record<string, string>
  body?: string | Buffer
  /** Which requests; all if left out. */
  when?: (request: SeenRequest) => boolean
}

/** What goes wrong. All can be set and reset while the server runs. */
export interface UpstreamFaults {
  statuses: StatusFault[]
  /** One for each following body of a blob that reaches it: the connection ends before this byte of the blob. */
  cutAt: number[]
  wrongByte?: number | undefined
  bytesPerSecond?: number | undefined
  hold?: { at: number; until: Promise<unknown> } | undefined
  /** Blobs come chunked and without Content-Length, HEAD of blobs without a length. */
  noLength?: boolean
  /** What blobs are declared to have, in bytes; after their own the connection stays open. */
  declaredBytes?: number | undefined
  /** Blobs are sent chunked and again and again, without an end. */
  endless?: boolean
  ignoresRange?: boolean
  /** The status for a HEAD of a blob or of a manifest. */
  headStatus?: number | undefined
  /** Before the head of each answer, in ms, or until this resolves. */
  headerDelay?: number | Promise<unknown> | undefined
  /** Connections end instead of an answer, so many times. */
  hangUps: number
  /** Blobs are answered by 307 to this origin (or to this function's URL). */
  redirect?: string | ((path: string) => string) | undefined
  noDigest?: boolean
  /** Each answer is this page, with a status of 200: the registry is under maintenance, or a captive portal before it. */
  page?: keyof typeof pages | undefined
  /** The half of this body, and the rest when `until` resolves. */
  trickle?: { body: Buffer; headers: Record<string, string>; until: Promise<unknown>; when: (request: SeenRequest) => boolean } | undefined
  noReferrers?: boolean
  /** How `Link` names the next page: by `last`, or by a cursor of its own. */
  cursor?: boolean
  /** Entries of a list in one answer, at most. */
  pageSize?: number | undefined
}

/** A registry that can be made to misbehave. */
export interface TestUpstream {
  /** Its origin. */
  readonly url: string
  readonly content: UpstreamContent
  readonly faults: UpstreamFaults
  readonly desk: AuthDesk
  /** All requests but those for tokens, oldest first. */
  readonly requests: SeenRequest[]
  readonly tokenRequests: SeenRequest[]
  addBlob(name: string, bytes: Buffer): string
  addImage: UpstreamContent['addImage']
  addManifest: UpstreamContent['addManifest']
  /** Requests whose `METHOD /path` contains the text. */
  count(text: string): number
  /** Ends all connections and listens no more; `start` brings it back on the same port. */
  stop(): Promise<void>
  start(): Promise<void>
}

/** Starts an upstream on a free port of the loopback address, stopped with the test. */
export async function startUpstream(
  t: Test,
  options: { auth?: UpstreamAuth; tls?: { key: string | Buffer; cert: string | Buffer }; content?: UpstreamContent; host?: string } = {}
): Promise<TestUpstream> {
  const content = options.content ?? new UpstreamContent()
  const faults: UpstreamFaults = { statuses: [], cutAt: [], hangUps: 0 }
  const desk = new AuthDesk(options.auth)
  const requests: SeenRequest[] = []
  const tokenRequests: SeenRequest[] = []
  const state = { content, faults, desk, requests, tokenRequests, origin: '' }
  let port = 0
  let server: Server
  const start = async () => {
    const listener = (request: IncomingMessage, response: ServerResponse) =>
      void answer(state, request, response).catch(() => response.destroy())
    // As large as the fields of registries in Go.
    const maxHeaderSize = 1024 * 1024
    server = options.tls ? createTlsServer({ ...options.tls, maxHeaderSize }, listener) : createServer({ maxHeaderSize }, listener)
    server.listen(port, '127.0.0.1')
    await once(server, 'listening')
    port = (server.address() as AddressInfo).port
  }
  const stop = async () => {
    if (!server.listening) return
    const closed = once(server, 'close')
    server.close()
    server.closeAllConnections()
    await closed
  }
  await start()
  state.origin = `${options.tls ? 'https' : 'http'}://${options.host ?? '127.0.0.1'}:${port}`
  t.teardown(stop)
  return {
    url: state.origin,
    content,
    faults,
    desk,
    requests,
    tokenRequests,
    addBlob: (name, bytes) => content.addBlob(name, bytes),
    addImage: (...given) => content.addImage(...given),
    addManifest: (...given) => content.addManifest(...given),
    count: text => requests.filter(each => `${each.method} ${each.path}`.includes(text)).length,
    stop,
    start
  }
}

const pages = {
  json: { headers: { 'content-type': 'application/json' }, body: '{"status":"maintenance","message":"back in an hour"}' },
  html: { headers: { 'content-type': 'text/html; charset=utf-8' }, body: '<!doctype html><title>Maintenance</title>' },
  // Some servers keep the media type of what they stand for.
  posing: { headers: { 'content-type': manifestType }, body: '{"status":"maintenance"}' }
} as const

interface State {
  content: UpstreamContent
  faults: UpstreamFaults
  desk: AuthDesk
  requests: SeenRequest[]
  tokenRequests: SeenRequest[]
  origin: string
}

async function answer(state: State, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const { faults } = state
  const seen = see(request)
  if (seen.path === '/token') {
    state.tokenRequests.push(seen)
    return state.desk.answer(request, response)
  }
  state.requests.push(seen)
  await (typeof faults.headerDelay === 'number' ? sleep(faults.headerDelay) : faults.headerDelay)
  if (faults.hangUps > 0) {
    faults.hangUps--
    return void request.socket.destroy()
  }
  if (faults.page)
    return void response.writeHead(200, pages[faults.page].headers).end(seen.method === 'HEAD' ? undefined : pages[faults.page].body)
  const { trickle } = faults
  if (trickle?.when(seen)) {
    const half = trickle.body.length >> 1
    response.writeHead(200, { ...trickle.headers, 'content-length': trickle.body.length }).write(trickle.body.subarray(0, half))
    await trickle.until
    return void response.end(trickle.body.subarray(half))
  }
  const fault = faults.statuses.find(each => (each.times ?? 1) > 0 && (each.when?.(seen) ?? true))
  if (fault) {
    if (fault.times !== undefined) fault.times--
    return void response.writeHead(fault.status, fault.headers).end(seen.method === 'HEAD' ? undefined : fault.body)
  }
  const [, name = '', kind = '', rest = ''] = /^\/v2\/(?:(.+?)\/)?(blobs|manifests|tags|referrers|_catalog)\/?(.*)$/.exec(seen.path) ?? []
  const scope = kind === '_catalog' ? 'registry:catalog:*' : `repository:${name}:pull`
  const challenge = state.desk.challenge(request, state.origin, scope)
  if (challenge !== undefined) return refuse(response, 401, 'UNAUTHORIZED', { 'www-authenticate': challenge })
  if (kind === 'blobs') return answerBlob(state, seen, response, { name, digest: rest })
  if (kind === 'manifests') return answerManifest(state, seen, response, { name, reference: rest })
  const all = kind === '_catalog' ? state.content.names() : [...(state.content.tags.get(name)?.keys() ?? [])].sort()
  if (kind === 'tags' || kind === '_catalog')
    return answerList(state, seen, response, { name, all, key: kind === 'tags' ? 'tags' : 'repositories' })
  if (kind === 'referrers' && !faults.noReferrers) return answerReferrers(state, response, { name, subject: rest })
  return refuse(response, 404, 'NAME_UNKNOWN')
}

function see(request: IncomingMessage): SeenRequest {
  const [path = '', query = ''] = (request.url ?? '').split('?')
  const { range, authorization } = request.headers
  return {
    method: request.method ?? '',
    path: decodeURIComponent(path),
    query,
    range,
    authorization,
    headers: request.headers,
    at: Date.now(),
    port: request.socket.remotePort,
    bytes: 0
  }
}

function refuse(response: ServerResponse, status: number, code: string, headers: Record<string, string> = {}): void {
  response.writeHead(status, { 'content-type': 'application/json', ...headers })
  response.end(JSON.stringify({ errors: [{ code, message: code }] }))
}

async function answerBlob(
  { content, faults }: State,
  seen: SeenRequest,
  response: ServerResponse,
  { name, digest }: { name: string; digest: string }
): Promise<void> {
  const bytes = content.blobs.get(name)?.get(digest)
  if (seen.method === 'HEAD' && faults.headStatus !== undefined) return refuse(response, faults.headStatus, 'UNSUPPORTED')
  if (!bytes) return refuse(response, 404, 'BLOB_UNKNOWN')
  if (faults.redirect !== undefined) {
    const location = typeof faults.redirect === 'string' ? faults.redirect + seen.path : faults.redirect(seen.path)
    return void response.writeHead(307, { location }).end()
  }
  const part = faults.ignoresRange ? undefined : partOf(seen.range, bytes.length)
  if (part === 'unsatisfiable') {
    return refuse(response, 416, 'RANGE', { 'content-range': `bytes */${bytes.length}` })
  }
  const { first, last } = part ?? { first: 0, last: bytes.length - 1 }
  response.writeHead(part ? 206 : 200, {
    'content-type': 'application/octet-stream',
    ...(faults.noLength || faults.endless ? {} : { 'content-length': faults.declaredBytes ?? last - first + 1 }),
    ...(part ? { 'content-range': `bytes ${first}-${last}/${bytes.length}` } : {}),
    ...(faults.noDigest ? {} : { 'docker-content-digest': digest })
  })
  if (seen.method === 'HEAD') return void response.end()
  const [next] = faults.cutAt
  const cutAt = next !== undefined && next >= first && next <= last + 1 ? faults.cutAt.shift() : undefined
  const { bytesPerSecond, wrongByte, hold } = faults
  const { endless, declaredBytes } = faults
  const unfinished = endless ? 'again' : declaredBytes !== undefined && declaredBytes > last - first + 1 ? 'open' : undefined
  await sendBody(response, bytes.subarray(first, last + 1), first, { cutAt, bytesPerSecond, wrongByte, hold, seen, unfinished })
}

function partOf(range: string | undefined, size: number): { first: number; last: number } | 'unsatisfiable' | undefined {
  const [, from = '', to = ''] = /^bytes=(\d*)-(\d*)$/.exec(range ?? '') ?? []
  if (from === '' && to === '') return undefined
  const first = from === '' ? Math.max(size - Number(to), 0) : Number(from)
  const last = from === '' || to === '' ? size - 1 : Math.min(Number(to), size - 1)
  return first > last ? 'unsatisfiable' : { first, last }
}

function answerManifest(
  { content, faults }: State,
  seen: SeenRequest,
  response: ServerResponse,
  { name, reference }: { name: string; reference: string }
): void {
  if (seen.method === 'HEAD' && faults.headStatus !== undefined) {
    refuse(response, faults.headStatus, 'UNSUPPORTED')
    return
  }
  const found = content.findManifest(name, reference)
  if (!found) {
    refuse(response, 404, 'MANIFEST_UNKNOWN')
    return
  }
  const etag = `"${found.digest}"`
  if (seen.headers['if-none-match'] === etag) return void response.writeHead(304, { etag }).end()
  const body =
    faults.wrongByte === undefined ? found.bytes : Buffer.from(found.bytes.toString().replace('"schemaVersion"', '"schemaversion"'))
  const digest = faults.noDigest ? {} : { 'docker-content-digest': found.digest }
  const length = faults.noLength ? {} : { 'content-length': body.length }
  response.writeHead(200, { 'content-type': found.mediaType, etag, ...digest, ...length })
  response.end(seen.method === 'HEAD' ? undefined : body)
}

function answerList(
  { faults }: State,
  seen: SeenRequest,
  response: ServerResponse,
  { name, all, key }: { name: string; all: string[]; key: string }
): void {
  const query = new URLSearchParams(seen.query)
  const last = faults.cursor ? Buffer.from(query.get('next_page') ?? '', 'base64').toString() : (query.get('last') ?? '')
  const rest = all.filter(each => each > last)
  const size = Math.min(Number(query.get('n') ?? rest.length), faults.pageSize ?? rest.length)
  const items = rest.slice(0, size)
  const end = items.at(-1) ?? ''
  const cursor = faults.cursor ? `next_page=${encodeURIComponent(Buffer.from(end).toString('base64'))}` : `last=${end}&n=${size}`
  const link = items.length < rest.length ? { link: `<${seen.path}?${cursor}>; rel="next"` } : {}
  response.writeHead(200, { 'content-type': 'application/json', ...link })
  response.end(JSON.stringify({ name, [key]: items }))
}

function answerReferrers({ content }: State, response: ServerResponse, { name, subject }: { name: string; subject: string }): void {
  const manifests = [...(content.manifests.get(name) ?? [])].flatMap(([digest, { bytes, mediaType }]) => {
    const manifest = JSON.parse(bytes.toString())
    if (manifest.subject?.digest !== subject) return []
    return [{ mediaType, digest, size: bytes.length, artifactType: manifest.artifactType ?? manifest.config?.mediaType }]
  })
  response.writeHead(200, { 'content-type': indexType })
  response.end(JSON.stringify({ schemaVersion: 2, mediaType: indexType, manifests }))
}
