import { createHash } from 'node:crypto'
import { Agent as HttpAgent } from 'node:http'
import { Agent as HttpsAgent } from 'node:https'
import { createSecureContext, rootCertificates } from 'node:tls'
import { S3Client, type S3ClientConfig } from '@aws-sdk/client-s3'
import { NodeHttpHandler } from '@smithy/node-http-handler'
import type { Key } from '../storage.ts'
import { credentialsFromFile } from './credentials.ts'
import { clearFalseClockSkew, isAbsence, isTransient, S3Error } from './error.ts'
import { BodyRequestHandler, type CreateBodyClient } from './request-handler.ts'

/** How long is waited for what, in ms. */
export interface BucketTimeouts {
  connectMs: number
  /** For an answer. */
  responseMs: number
  /** For the next byte of a body that somebody wants. */
  bodyIdleMs: number
  /** For what moves bytes inside of the service. */
  copyMs: number
  /** No try begins later than that after the first one: a service that takes what it is asked and never answers must not hold whoever waits for several times as long. */
  retryWindowMs: number
  /** The same for what is sent. */
  uploadRetryWindowMs: number
}

const defaultTimeouts: BucketTimeouts = {
  connectMs: 5_000,
  responseMs: 20_000,
  bodyIdleMs: 20_000,
  copyMs: 600_000,
  retryWindowMs: 15_000,
  uploadRetryWindowMs: 45_000
}
// Services close what is idle after some 20 s.
const keepAliveMs = 15_000

/** Where a bucket is, and who asks. */
export interface BucketOptions {
  timeouts?: BucketTimeouts | undefined
  bucket: string
  region: string
  /** A URL; absent: AWS's own. */
  endpoint?: string | undefined
  /** The bucket in the path of URLs, and not in the name of the host. */
  forcePathStyle?: boolean | undefined
  /** Before every key, without a slash at its end. */
  prefix?: string | undefined
  /** Absent: the chain of the SDK (environment, files, instance). */
  credentials?: { accessKeyId: string; secretAccessKey: string } | { file: string } | undefined
  /** Authorities in PEM, beside those that Node knows. */
  ca?: string | undefined
  /** Makes the HTTP client that objects are read with. */
  createBodyClient: CreateBodyClient
  /** Called for each request with its operation, retries included. */
  onRequest?: ((operation: string) => void) | undefined
}

// Small questions queue behind each other and never behind bodies, of which each open one has a connection, however slowly it is read.
const questions = 64
// The first try and its repetitions, with pauses that grow and are random: 429, SlowDown, 5xx, and connections that break.
const tries = 4
const pause = 200
const longestPause = 5_000
/** How long a request may take, and by whose connections it goes. */
export type RequestClass = 'question' | 'body' | 'copy'

/** A bucket and the connections to it. */
export class Bucket {
  readonly name: string
  readonly prefix: string
  readonly timeouts: BucketTimeouts
  readonly #question: S3Client
  readonly #body: S3Client
  readonly #copy: S3Client

  constructor(options: BucketOptions) {
    this.name = options.bucket
    this.prefix = options.prefix ? `${options.prefix}/` : ''
    this.timeouts = options.timeouts ?? defaultTimeouts
    const { connectMs, responseMs, bodyIdleMs, copyMs } = this.timeouts
    // One for all, so that none of them goes on with keys that another one has replaced.
    const common = clientConfig(options)
    // Of all connections: each one for itself would read all the certificates.
    const secureContext = createSecureContext(options.ca ? { ca: [...rootCertificates, options.ca] } : {})
    const config = (requestTimeout: number, socketTimeout: number): S3ClientConfig => {
      const agent = { keepAlive: true, maxSockets: questions, maxFreeSockets: 32, secureContext }
      return {
        ...common,
        requestHandler: new NodeHttpHandler({
          connectionTimeout: connectMs,
          requestTimeout,
          throwOnRequestTimeout: true,
          socketTimeout,
          httpAgent: new HttpAgent(agent),
          httpsAgent: new HttpsAgent(agent)
        })
      }
    }
    this.#question = new S3Client(config(responseMs, responseMs))
    this.#body = new S3Client({
      ...common,
      requestHandler: new BodyRequestHandler(options.createBodyClient({ connectMs, responseMs, bodyIdleMs, keepAliveMs }), secureContext)
    })
    this.#copy = new S3Client(config(copyMs, 0))
    for (const client of [this.#question, this.#body, this.#copy]) addMiddleware(client, options.onRequest)
  }

  /** The key of an object in the bucket. Keys are built from parsed names only; one that leads elsewhere is a fault of ours, and stops here. */
  key(key: Key): string {
    if (key.includes('\0') || key.split('/').some(part => part === '' || part === '.' || part === '..'))
      throw new Error(`not a key: ${JSON.stringify(key)}`)
    return this.prefix + key
  }

  /** What names an object as the source of a copy. */
  copySource(key: Key): string {
    return `${this.name}/${this.key(key)}`.split('/').map(encodeURIComponent).join('/')
  }

  /** The time by the clock of the service, as far as its last answer told, in ms since the epoch. */
  now(): number {
    return Date.now() + this.#question.config.systemClockOffset
  }

  /** The client of a lane, for what is not a request. */
  client(lane: RequestClass): S3Client {
    return { question: this.#question, body: this.#body, copy: this.#copy }[lane]
  }

  /** Makes a request; what goes wrong becomes an S3Error. */
  async request<T>(operation: string, key: Key | undefined, lane: RequestClass, request: (client: S3Client) => Promise<T>): Promise<T> {
    try {
      return await this.#request(lane, request)
    } catch (wrapError) {
      throw this.error(operation, key, wrapError)
    }
  }

  #request<T>(lane: RequestClass, request: (client: S3Client) => Promise<T>): Promise<T> {
    return tried(() => request(this.client(lane)), this.timeouts.retryWindowMs)
  }

  /** `ask` for what may not be there: then undefined. */
  async find<T>(operation: string, key: Key, lane: RequestClass, request: (client: S3Client) => Promise<T>): Promise<T | undefined> {
    try {
      return await this.#request(lane, request)
    } catch (error) {
      if (isAbsence(error)) return undefined
      throw this.error(operation, key, error)
    }
  }

  /** `ask` for a request with a body that is made anew for each try, which the client could not send again. */
  async upload<T>(operation: string, key: Key, signal: AbortSignal | undefined, request: (client: S3Client) => Promise<T>): Promise<T> {
    try {
      return await tried(() => request(this.#copy), this.timeouts.uploadRetryWindowMs, signal)
    } catch (error) {
      throw this.error(operation, key, error)
    }
  }

  /** An error of the client as those who ask see it. */
  error(operation: string, key: Key | undefined, error: unknown): unknown {
    // A fault of ours is none of the service's.
    if (error instanceof S3Error || error instanceof TypeError) return error
    return new S3Error({ bucket: this.name, operation, key }, error)
  }

  close(): void {
    for (const client of [this.#question, this.#body, this.#copy]) client.destroy()
  }
}

// The client of the SDK would go on for as long as it takes.
async function tried<T>(request: () => Promise<T>, last: number, signal?: AbortSignal): Promise<T> {
  const began = performance.now()
  for (let attempt = 1; ; attempt++) {
    try {
      return await request()
    } catch (error) {
      if (attempt === tries || signal?.aborted || performance.now() - began > last || !isTransient(error)) throw error
      await backoff(attempt)
    }
  }
}

/** Resolves when the try after the `attempt`th may begin. */
export function backoff(attempt: number): Promise<void> {
  const most = Math.min(longestPause, pause * 2 ** (attempt - 1))
  return new Promise(resolve => setTimeout(resolve, most * (0.5 + Math.random() / 2)))
}

// Without one the client writes to the console that it does not try again, which we do.
const silent = { trace() {}, debug() {}, info() {}, warn() {}, error() {} }

function clientConfig({ region, endpoint, forcePathStyle, credentials }: BucketOptions): S3ClientConfig {
  return {
    region,
    ...(endpoint === undefined ? {} : { endpoint }),
    forcePathStyle: forcePathStyle ?? false,
    maxAttempts: 1,
    // The newer defaults are unknown to some services. The digest of everything is checked anyhow.
    requestChecksumCalculation: 'WHEN_REQUIRED',
    responseChecksumValidation: 'WHEN_REQUIRED',
    logger: silent,
    ...(credentials === undefined
      ? {}
      : { credentials: 'file' in credentials ? credentialsFromFile(credentials.file) : { ...credentials } })
  }
}

function addMiddleware(client: S3Client, onRequest: BucketOptions['onRequest']): void {
  client.middlewareStack.add(
    (next, { commandName }) =>
      args => {
        const request = args.request as { headers: Record<string, string>; body?: unknown }
        // Services that are older than the newer checksums demand this one here.
        if (commandName === 'DeleteObjectsCommand' && (typeof request.body === 'string' || request.body instanceof Uint8Array))
          request.headers['content-md5'] = createHash('md5').update(request.body).digest('base64')
        return next(args)
      },
    { step: 'build', priority: 'low', name: 'registryChecksum' }
  )
  client.middlewareStack.addRelativeTo(
    <Args, Answer>(next: (args: Args) => Promise<Answer>) =>
      (args: Args) =>
        next(args).catch(error => {
          clearFalseClockSkew(error)
          throw error
        }),
    { relation: 'before', toMiddleware: 'httpSigningMiddleware', name: 'registryClock' }
  )
  if (!onRequest) return
  client.middlewareStack.add(
    (next, { commandName }) =>
      args => {
        onRequest(commandName?.replace(/Command$/, '') ?? 'Unknown')
        return next(args)
      },
    { step: 'finalizeRequest', priority: 'low', name: 'registryCount' }
  )
}
