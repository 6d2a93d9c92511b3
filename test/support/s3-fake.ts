import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { closeSync, createReadStream, mkdirSync } from 'node:fs'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { pipeline } from 'node:stream/promises'
import { FakeStore, type FakeUpload, type Listed, type PutCondition, type Received, Refusal } from './s3-fake-store.ts'
import type { S3Server } from './s3-server.ts'
import { parseAuthorization, signatureOf } from './s3-sign.ts'

/** Keys of the owner, who may do everything. */
type Credentials = S3Server['credentials']

/** The region that a fake is in. */
const region = 'us-east-1'
const maxSkewMs = 15 * 60_000
// Of every part but the last.
const minPartBytes = 5 * 1024 * 1024

interface Call {
  store: FakeStore
  incoming: IncomingMessage
  response: ServerResponse
  query: URLSearchParams
  bucket: string
  key: string
}

/**
 * A small S3 service of ours with everything in `folder`, for tests where no real one can be had: objects, conditions,
 * listings, copies, multipart uploads and signatures. It has no users beside its owner, and so no permissions.
 */
export async function startFake(
  folder: string,
  { credentials, tls }: { credentials: Credentials; tls: Record<'key' | 'cert', string> | undefined }
): Promise<S3Server> {
  const [root, incoming] = [join(folder, 'buckets'), join(folder, 'incoming')]
  for (const each of [root, incoming]) mkdirSync(each)
  const store = new FakeStore(root, incoming)
  let [listener, port]: [Server | undefined, number] = [undefined, 0]
  const start = async () => {
    const known = server.credentials
    const serve = (incoming: IncomingMessage, response: ServerResponse) => void respond(store, known, incoming, response)
    listener = tls ? createTlsServer(tls, serve) : createServer(serve)
    listener.keepAliveTimeout = 60_000
    listener.listen(port, '127.0.0.1')
    await once(listener, 'listening')
    port = (listener.address() as AddressInfo).port
  }
  const kill = async () => {
    if (!listener?.listening) return
    const closed = once(listener, 'close')
    listener.close()
    listener.closeAllConnections()
    await closed
  }
  const server: S3Server = { endpoint: '', root, credentials, ca: tls?.cert, hasUsers: false, kill, start }
  await start()
  server.endpoint = `${tls ? 'https' : 'http'}://127.0.0.1:${port}`
  return server
}

async function respond(store: FakeStore, credentials: Credentials, incoming: IncomingMessage, response: ServerResponse): Promise<void> {
  try {
    const [path = '', search = ''] = (incoming.url ?? '').split('?', 2)
    const query = new URLSearchParams(search.replaceAll('+', '%2B'))
    authorize(incoming, query, credentials)
    const [, bucket = '', key = ''] = /^\/([^/]*)(?:\/(.*))?$/s.exec(decodeURIComponent(path)) ?? []
    await operate({ store, incoming, response, query, bucket, key })
  } catch (error) {
    if (response.headersSent || (incoming.destroyed && !incoming.complete)) return void response.destroy()
    const { status, code } = error instanceof Refusal ? error : { status: 500, code: 'InternalError' }
    if (!(error instanceof Refusal)) process.stderr.write(`s3-fake: ${incoming.method} ${incoming.url}: ${error}\n`)
    // Clients may read the response only after they have sent the body.
    if (!incoming.readableEnded) await once(incoming.resume(), 'end').catch(() => {})
    const message = error instanceof Error ? error.message : code
    sendXml(response, `<Error><Code>${code}</Code><Message>${escaped(message)}</Message></Error>`, status)
  }
}

function authorize(incoming: IncomingMessage, query: URLSearchParams, { accessKeyId, secretAccessKey }: Credentials): void {
  const { method = '', url = '', headers } = incoming
  if (query.has('X-Amz-Security-Token') || headers['x-amz-security-token'] !== undefined) throw new Refusal(403, 'InvalidToken')
  const presigned = query.has('X-Amz-Signature')
  const [, presignedKey = '', presignedScope = ''] = /^([^/]+)\/(.*)$/.exec(query.get('X-Amz-Credential') ?? '') ?? []
  const given = presigned
    ? {
        accessKeyId: presignedKey,
        scope: presignedScope,
        signedHeaders: (query.get('X-Amz-SignedHeaders') ?? '').split(';'),
        signature: query.get('X-Amz-Signature') ?? ''
      }
    : parseAuthorization(headers.authorization)
  if (given.signature === '') throw new Refusal(403, 'AccessDenied')
  if (given.accessKeyId !== accessKeyId) throw new Refusal(403, 'InvalidAccessKeyId')
  if (given.scope.split('/')[1] !== region) throw new Refusal(400, 'AuthorizationHeaderMalformed')
  const date = presigned ? (query.get('X-Amz-Date') ?? '') : String(headers['x-amz-date'])
  const ageMs = Date.now() - Date.parse(date.replace(/^(....)(..)(..)T(..)(..)(..)Z$/, '$1-$2-$3T$4:$5:$6Z'))
  if (presigned && ageMs > Number(query.get('X-Amz-Expires')) * 1000) throw new Refusal(403, 'AccessDenied')
  if (!(ageMs > -maxSkewMs && (presigned || ageMs < maxSkewMs))) throw new Refusal(403, 'RequestTimeTooSkewed')
  const payload = presigned ? 'UNSIGNED-PAYLOAD' : String(headers['x-amz-content-sha256'])
  const { scope, signedHeaders } = given
  const signature = signatureOf({ method, url, headers, signedHeaders, scope, date, payload }, secretAccessKey)
  if (signature !== given.signature) throw new Refusal(403, 'SignatureDoesNotMatch')
}

async function operate(call: Call): Promise<void> {
  const { store, incoming, query, bucket, key, response } = call
  const { method } = incoming
  const operation = `${method} ${key === '' ? 'bucket' : 'object'}`
  if (operation === 'PUT bucket') {
    store.createBucket(bucket)
    return sendEmpty(response, 200)
  }
  store.demandBucket(bucket)
  if (operation === 'GET bucket') return query.has('uploads') ? listUploads(call) : list(call)
  if (operation === 'HEAD bucket') return sendEmpty(response, 200)
  if (operation === 'POST bucket' && query.has('delete')) return removeMany(call)
  if (operation === 'GET object' || operation === 'HEAD object') return send(call)
  if (operation === 'PUT object') return query.has('uploadId') ? putPart(call) : put(call)
  if (operation === 'POST object' && query.has('uploads')) return createUpload(call)
  if (operation === 'POST object' && query.has('uploadId')) return completeUpload(call)
  if (operation === 'DELETE object') {
    if (query.has('uploadId')) store.abort(uploadOf(call).id)
    else store.remove(bucket, key)
    return sendEmpty(response, 204)
  }
  throw new Refusal(501, 'NotImplemented')
}

// Receives the body and verifies the checksums in the request.
async function receive({ store, incoming }: Call): Promise<Received> {
  const { 'content-md5': md5, 'x-amz-content-sha256': sha256 } = incoming.headers
  if (String(sha256).startsWith('STREAMING-')) throw new Refusal(501, 'NotImplemented')
  const received = await store.receive(incoming)
  const wrong =
    (md5 !== undefined && md5 !== received.md5.toString('base64') && 'BadDigest') ||
    (sha256 !== 'UNSIGNED-PAYLOAD' && sha256 !== received.sha256 && 'XAmzContentSHA256Mismatch')
  if (!wrong) return received
  store.drop(received)
  throw new Refusal(400, wrong)
}

function conditionOf({ incoming }: Call): PutCondition {
  return { ifMatch: incoming.headers['if-match'], ifNoneMatch: incoming.headers['if-none-match'] }
}

// The source of a copy; undefined where the request has a body of its own.
async function copied({ store, incoming, bucket, key }: Call): Promise<Received | undefined> {
  const source = incoming.headers['x-amz-copy-source']
  if (source === undefined) return undefined
  const [, fromBucket = '', fromKey = ''] = /^\/?([^/]+)\/(.*)$/s.exec(decodeURIComponent(String(source))) ?? []
  store.demandBucket(fromBucket)
  if (fromBucket === bucket && fromKey === key && incoming.headers['x-amz-metadata-directive'] !== 'REPLACE')
    throw new Refusal(400, 'InvalidRequest')
  const [, first, last] = /^bytes=([0-9]+)-([0-9]+)$/.exec(String(incoming.headers['x-amz-copy-source-range'])) ?? []
  return store.copy(fromBucket, fromKey, first === undefined ? undefined : { first: Number(first), last: Number(last) })
}

async function put(call: Call): Promise<void> {
  const { store, response, bucket, key } = call
  const copy = await copied(call)
  const etag = store.publish(bucket, key, copy ?? (await receive(call)), conditionOf(call))
  if (!copy) return sendEmpty(response, 200, { etag })
  sendXml(response, `<CopyObjectResult><LastModified>${new Date().toISOString()}</LastModified>${etagXml(etag)}</CopyObjectResult>`)
}

function uploadOf({ store, query, bucket, key }: Call): FakeUpload & { id: string } {
  const id = query.get('uploadId') ?? ''
  const upload = store.upload(id)
  if (upload.bucket !== bucket || upload.key !== key) throw new Refusal(404, 'NoSuchUpload')
  return { ...upload, id }
}

async function putPart(call: Call): Promise<void> {
  const { store, query, response } = call
  const number = Number(query.get('partNumber'))
  if (!(number >= 1 && number <= 10_000)) throw new Refusal(400, 'InvalidArgument')
  const { parts, id } = uploadOf(call)
  const copy = await copied(call)
  const part = copy ?? (await receive(call))
  const before = parts.get(number)
  if (before) store.drop(before)
  // The upload was aborted meanwhile.
  if (!store.uploads.has(id)) store.drop(part)
  uploadOf(call).parts.set(number, part)
  const etag = `"${part.md5.toString('hex')}"`
  if (copy) sendXml(response, `<CopyPartResult><LastModified>${new Date().toISOString()}</LastModified>${etagXml(etag)}</CopyPartResult>`)
  else sendEmpty(response, 200, { etag })
}

function createUpload({ store, response, bucket, key }: Call): void {
  const id = randomUUID()
  store.uploads.set(id, { bucket, key, initiated: new Date(), parts: new Map() })
  sendXml(
    response,
    `<InitiateMultipartUploadResult><Bucket>${bucket}</Bucket><Key>${escaped(key)}</Key><UploadId>${id}</UploadId></InitiateMultipartUploadResult>`
  )
}

async function completeUpload(call: Call): Promise<void> {
  const { store, incoming, response, bucket, key } = call
  const { id, parts } = uploadOf(call)
  const named = [...(await text(incoming)).matchAll(/<Part>(.*?)<\/Part>/gs)].map(([, part = '']) => ({
    number: Number(/<PartNumber>([0-9]+)</.exec(part)?.[1]),
    etag: unescaped(/<ETag>(.*?)</.exec(part)?.[1] ?? '')
  }))
  for (const [at, { number, etag }] of named.entries()) {
    const part = parts.get(number)
    if (part === undefined || `"${part.md5.toString('hex')}"` !== etag) throw new Refusal(400, 'InvalidPart')
    if (at > 0 && number <= (named[at - 1]?.number ?? 0)) throw new Refusal(400, 'InvalidPartOrder')
    if (at < named.length - 1 && part.size < minPartBytes) throw new Refusal(400, 'EntityTooSmall')
  }
  const etag = await store.complete(
    id,
    named.map(each => each.number),
    conditionOf(call)
  )
  sendXml(
    response,
    `<CompleteMultipartUploadResult><Bucket>${bucket}</Bucket><Key>${escaped(key)}</Key>${etagXml(etag)}</CompleteMultipartUploadResult>`
  )
}

async function send({ store, incoming, response, bucket, key }: Call): Promise<void> {
  const { fd, size, modified, etag } = store.open(bucket, key)
  const { 'if-match': ifMatch, range } = incoming.headers
  const span = rangeOf(range, size)
  const { start, end } = span ?? { start: 0, end: size - 1 }
  const refused =
    (ifMatch !== undefined && ifMatch !== etag && new Refusal(412, 'PreconditionFailed')) ||
    (span && start > end && new Refusal(416, 'InvalidRange'))
  const streamed = !refused && incoming.method === 'GET' && size > 0
  if (!streamed) closeSync(fd)
  if (refused) throw refused
  response.writeHead(span ? 206 : 200, {
    'content-length': end - start + 1,
    'content-type': 'binary/octet-stream',
    'last-modified': modified.toUTCString(),
    etag,
    'accept-ranges': 'bytes',
    ...(span ? { 'content-range': `bytes ${start}-${end}/${size}` } : {})
  })
  if (streamed) await pipeline(createReadStream('', { fd, start, end }), response)
  else response.end()
}

// Both ends inclusive; `start` beyond `end` is an unsatisfiable range.
function rangeOf(header: string | undefined, size: number): { start: number; end: number } | undefined {
  const [, first = '', last = ''] = /^bytes=([0-9]*)-([0-9]*)$/.exec(header ?? '') ?? []
  if (first === '' && last === '') return undefined
  if (first === '') return { start: Math.max(0, size - Number(last)), end: size - 1 }
  return { start: Number(first), end: Math.min(size - 1, last === '' ? size : Number(last)) }
}

function list({ store, response, query, bucket }: Call): void {
  const [prefix, after] = [query.get('prefix') ?? '', query.get('start-after') ?? '']
  const maxKeys = Math.min(1_000, Number(query.get('max-keys') ?? 1_000))
  const last = Buffer.from(query.get('continuation-token') ?? '', 'base64url').toString()
  const delimiter = query.get('delimiter') === '/'
  const found = store.list(bucket, { prefix, delimiter, after: last || after, skip: delimiter && last.endsWith('/') ? last : '' })
  const page: Listed[] = []
  let truncated = false
  for (const each of found) {
    truncated = page.length === maxKeys
    if (truncated) break
    page.push(each)
  }
  const end = page.at(-1)
  const token = end && Buffer.from('prefix' in end ? end.prefix : end.key).toString('base64url')
  const entries = page.map(each =>
    'prefix' in each
      ? `<CommonPrefixes><Prefix>${escaped(each.prefix)}</Prefix></CommonPrefixes>`
      : `<Contents><Key>${escaped(each.key)}</Key><LastModified>${each.modified.toISOString()}</LastModified>${etagXml(each.etag)}<Size>${each.size}</Size></Contents>`
  )
  const next = truncated && token !== undefined ? `<NextContinuationToken>${token}</NextContinuationToken>` : ''
  sendXml(
    response,
    `<ListBucketResult><Name>${bucket}</Name><KeyCount>${page.length}</KeyCount><IsTruncated>${truncated}</IsTruncated>${next}${entries.join('')}</ListBucketResult>`
  )
}

function listUploads({ store, response, query, bucket }: Call): void {
  const prefix = query.get('prefix') ?? ''
  const found = [...store.uploads].filter(([, each]) => each.bucket === bucket && each.key.startsWith(prefix))
  const entries = found.map(
    ([id, { key, initiated }]) =>
      `<Upload><Key>${escaped(key)}</Key><UploadId>${id}</UploadId><Initiated>${initiated.toISOString()}</Initiated></Upload>`
  )
  sendXml(
    response,
    `<ListMultipartUploadsResult><Bucket>${bucket}</Bucket><IsTruncated>false</IsTruncated>${entries.join('')}</ListMultipartUploadsResult>`
  )
}

async function removeMany({ store, incoming, response, bucket }: Call): Promise<void> {
  const keys = [...(await text(incoming)).matchAll(/<Key>(.*?)<\/Key>/gs)].map(([, key = '']) => unescaped(key))
  for (const key of keys) store.remove(bucket, key)
  sendXml(response, '<DeleteResult></DeleteResult>')
}

function sendEmpty(response: ServerResponse, status: number, headers: Record<string, string> = {}): void {
  response.writeHead(status, { 'content-length': 0, ...headers }).end()
}

function sendXml(response: ServerResponse, xml: string, status = 200): void {
  const body = Buffer.from(`<?xml version="1.0" encoding="UTF-8"?>\n${xml}`)
  response.writeHead(status, { 'content-type': 'application/xml', 'content-length': body.length })
  response.end(response.req.method === 'HEAD' ? undefined : body)
}

const etagXml = (etag: string): string => `<ETag>${escaped(etag)}</ETag>`

const entities: Readonly<Record<string, string>> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&apos;', '\r': '&#xD;' }
const characters = new Map(Object.entries(entities).map(([character, entity]) => [entity, character]))

function escaped(value: string): string {
  return value.replace(/[&<>"'\r]/g, each => entities[each] ?? each)
}

function unescaped(value: string): string {
  const numeric = (code: string) => String.fromCodePoint(code.startsWith('x') ? Number.parseInt(code.slice(1), 16) : Number(code))
  return value.replace(/&(?:#(x?[0-9a-fA-F]+)|[a-z]+);/g, (entity, code) => (code ? numeric(code) : (characters.get(entity) ?? entity)))
}
