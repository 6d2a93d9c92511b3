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

/** Timeouts of requests to a bucket. */
export interface BucketTimeouts {
  connectMs: number
  /** For the head of a response. */
  responseMs: number
  /** For the next byte of a body, while a read is pending. */
  bodyIdleMs: number
  /** For requests that copy bytes within the service. */
  copyMs: number
  /**
   * No retry starts later than this after the first attempt: a service that accepts requests and never responds must
   * not keep a client waiting for several times `responseMs`.
   */
  retryWindowMs: number
  /** The same for requests with a body from the spool. */
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
// Services close idle connections after some 20 s.
const keepAliveMs = 15_000

/** Where a bucket is, and the credentials for it. */
export interface BucketOptions {
  timeouts?: BucketTimeouts | undefined
  bucket: string
  region: string
  /** A URL; absent: AWS's. */
  endpoint?: string | undefined
  /** Whether URLs have the bucket in their path instead of the host name. */
  forcePathStyle?: boolean | undefined
  /** Precedes every key; without a slash at its end. */
  prefix?: string | undefined
  /** Absent: the SDK's provider chain (environment, files, instance). */
  credentials?: { accessKeyId: string; secretAccessKey: string } | { file: string } | undefined
  /** Certificate authorities in PEM, in addition to Node's. */
  ca?: string | undefined
  /** Makes the HTTP client that objects are read with. */
  createBodyClient: CreateBodyClient
  /** Called for each request with its operation, retries included. */
  onRequest?: ((operation: string) => void) | undefined
}

// Small requests queue behind each other and never behind bodies: each open body has a connection, however slowly it is
// read.
const maxSockets = 64
// The first attempt included. Retried are 429, SlowDown, 5xx and broken connections, with exponential backoff and
// jitter.
const maxAttempts = 4
const minBackoffMs = 200
const maxBackoffMs = 5_000

/** Decides about the timeouts of a request and the connections that it uses. */
export type RequestClass = 'small' | 'body' | 'copy'

/** A bucket and the connections to it. */
export class Bucket {
  readonly name: string
  readonly prefix: string
  readonly timeouts: BucketTimeouts
  readonly #small: S3Client
  readonly #body: S3Client
  readonly #copy: S3Client

  constructor(options: BucketOptions) {
    this.name = options.bucket
    this.prefix = options.prefix ? `${options.prefix}/` : ''
    this.timeouts = options.timeouts ?? defaultTimeouts
    const { connectMs, responseMs, bodyIdleMs, copyMs } = this.timeouts
    // Shared, so that all clients take renewed credentials at the same time.
    const common = clientConfig(options)
    // Shared: each connection would parse all certificates again.
    const secureContext = createSecureContext(options.ca ? { ca: [...rootCertificates, options.ca] } : {})
    const config = (requestTimeout: number, socketTimeout: number): S3ClientConfig => {
      const agent = { keepAlive: true, maxSockets, maxFreeSockets: 32, secureContext }
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
    this.#small = new S3Client(config(responseMs, responseMs))
    this.#body = new S3Client({
      ...common,
      requestHandler: new BodyRequestHandler(options.createBodyClient({ connectMs, responseMs, bodyIdleMs, keepAliveMs }), secureContext)
    })
    this.#copy = new S3Client(config(copyMs, 0))
    for (const client of [this.#small, this.#body, this.#copy]) addMiddleware(client, options.onRequest)
  }

  /**
   * The object's key in the bucket. Keys are made of parsed names only: `..` and the like are a bug, and refused here.
   */
  key(key: Key): string {
    if (key.includes('\0') || key.split('/').some(part => part === '' || part === '.' || part === '..'))
      throw new Error(`not a key: ${JSON.stringify(key)}`)
    return this.prefix + key
  }

  /** `CopySource` of an object. */
  copySource(key: Key): string {
    return `${this.name}/${this.key(key)}`.split('/').map(encodeURIComponent).join('/')
  }

  /** The service's time by its last response, in ms since the epoch. */
  now(): number {
    return Date.now() + this.#small.config.systemClockOffset
  }

  /** The SDK's client of a class. */
  client(requestClass: RequestClass): S3Client {
    return { small: this.#small, body: this.#body, copy: this.#copy }[requestClass]
  }

  /** Makes a request; rejects with an S3Error. */
  async request<T>(
    operation: string,
    key: Key | undefined,
    requestClass: RequestClass,
    request: (client: S3Client) => Promise<T>
  ): Promise<T> {
    try {
      return await this.#retrying(requestClass, request)
    } catch (error) {
      throw this.wrapError(operation, key, error)
    }
  }

  #retrying<T>(requestClass: RequestClass, request: (client: S3Client) => Promise<T>): Promise<T> {
    return retry(() => request(this.client(requestClass)), this.timeouts.retryWindowMs)
  }

  /** `request`, but undefined where there is no such object. */
  async findObject<T>(
    operation: string,
    key: Key,
    requestClass: RequestClass,
    request: (client: S3Client) => Promise<T>
  ): Promise<T | undefined> {
    try {
      return await this.#retrying(requestClass, request)
    } catch (error) {
      if (isAbsence(error)) return undefined
      throw this.wrapError(operation, key, error)
    }
  }

  /** `request` with a body that each attempt opens again: the SDK cannot resend a stream. */
  async upload<T>(operation: string, key: Key, signal: AbortSignal | undefined, request: (client: S3Client) => Promise<T>): Promise<T> {
    try {
      return await retry(() => request(this.#copy), this.timeouts.uploadRetryWindowMs, signal)
    } catch (error) {
      throw this.wrapError(operation, key, error)
    }
  }

  /** The S3Error for an error of the SDK. */
  wrapError(operation: string, key: Key | undefined, error: unknown): unknown {
    // A bug is not the service's error.
    if (error instanceof S3Error || error instanceof TypeError) return error
    return new S3Error({ bucket: this.name, operation, key }, error)
  }

  close(): void {
    for (const client of [this.#small, this.#body, this.#copy]) client.destroy()
  }
}

// The SDK's own retries have no time limit.
async function retry<T>(request: () => Promise<T>, windowMs: number, signal?: AbortSignal): Promise<T> {
  const startedAt = performance.now()
  for (let attempt = 1; ; attempt++) {
    try {
      return await request()
    } catch (error) {
      if (attempt === maxAttempts || signal?.aborted || performance.now() - startedAt > windowMs || !isTransient(error)) throw error
      await backoff(attempt)
    }
  }
}

/** Resolves when the attempt after `attempt`, counted from 1, may start. */
export function backoff(attempt: number): Promise<void> {
  const delayMs = Math.min(maxBackoffMs, minBackoffMs * 2 ** (attempt - 1))
  return new Promise(resolve => setTimeout(resolve, delayMs * (0.5 + Math.random() / 2)))
}

// The SDK's default logger writes to the console.
const silent = { trace() {}, debug() {}, info() {}, warn() {}, error() {} }

function clientConfig({ region, endpoint, forcePathStyle, credentials }: BucketOptions): S3ClientConfig {
  return {
    region,
    ...(endpoint === undefined ? {} : { endpoint }),
    forcePathStyle: forcePathStyle ?? false,
    maxAttempts: 1,
    // Some services do not know the newer default checksums. Digests are verified anyhow.
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
        // Required by services that do not know the newer checksums.
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
