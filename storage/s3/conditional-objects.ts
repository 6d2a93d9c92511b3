import { GetObjectCommand, HeadObjectCommand, PutObjectCommand } from '@aws-sdk/client-s3'
import { ownNames, ownPrefix } from '../layout.ts'
import type { ConditionalObjects, Key, VersionedObject } from '../storage.ts'
import { modifiedMs } from './bodies.ts'
import type { Bucket } from './bucket.ts'
import { S3Error } from './error.ts'

/** The object that probes put. */
export const probeKey = `${ownPrefix}/${ownNames.trial}`

type Condition = { IfNoneMatch: '*' } | { IfMatch: string }

/** Conditional puts; where the service ignores conditions, a get before each put. */
export class S3ConditionalObjects implements ConditionalObjects {
  readonly #bucket: Bucket
  #conditional: Promise<boolean> | undefined

  constructor(bucket: Bucket) {
    this.#bucket = bucket
  }

  isReplaceAtomic(): Promise<boolean> {
    this.#conditional ??= this.#probe().catch(error => {
      this.#conditional = undefined
      throw error
    })
    return this.#conditional
  }

  // A service that does not know a condition ignores it: each has to be seen to be refused.
  async #probe(): Promise<boolean> {
    await this.#put(probeKey, Buffer.alloc(1))
    for (const condition of [{ IfNoneMatch: '*' } as const, { IfMatch: '"00000000000000000000000000000000"' }])
      if ((await this.#putIf(probeKey, Buffer.alloc(1), condition)) !== 'refused') return false
    return true
  }

  async now(): Promise<number> {
    await this.#put(probeKey, Buffer.alloc(1))
    const input = { Bucket: this.#bucket.name, Key: this.#bucket.key(probeKey) }
    const found = await this.#bucket.request('HeadObject', probeKey, 'small', client => client.send(new HeadObjectCommand(input)))
    return modifiedMs(found.LastModified)
  }

  async get(key: Key): Promise<VersionedObject | undefined> {
    const input = { Bucket: this.#bucket.name, Key: this.#bucket.key(key) }
    const found = await this.#bucket.findObject('GetObject', key, 'small', client => client.send(new GetObjectCommand(input)))
    if (!found?.Body) return undefined
    const bytes = Buffer.from(await found.Body.transformToByteArray())
    return { bytes, version: found.ETag ?? '', modified: modifiedMs(found.LastModified) }
  }

  async replace(key: Key, bytes: Uint8Array, version?: string): Promise<string | undefined> {
    if (await this.isReplaceAtomic()) {
      const put = await this.#putIf(key, bytes, version === undefined ? { IfNoneMatch: '*' } : { IfMatch: version })
      return typeof put === 'string' ? undefined : put.version
    }
    const now = await this.get(key)
    return now?.version === version ? this.#put(key, bytes) : undefined
  }

  async #put(key: Key, bytes: Uint8Array, condition?: Condition): Promise<string> {
    const input = { Bucket: this.#bucket.name, Key: this.#bucket.key(key), Body: bytes, ...condition }
    const { ETag = '' } = await this.#bucket.request('PutObject', key, 'small', client => client.send(new PutObjectCommand(input)))
    return ETag
  }

  async #putIf(key: Key, bytes: Uint8Array, condition: Condition): Promise<{ version: string } | 'refused' | 'unknown'> {
    try {
      return { version: await this.#put(key, bytes, condition) }
    } catch (error) {
      const { status, s3Code } = error instanceof S3Error ? error : {}
      if (status === 412 || status === 409 || s3Code === 'NoSuchKey') return 'refused'
      if (status === 501 || s3Code === 'NotImplemented') return 'unknown'
      throw error
    }
  }
}
