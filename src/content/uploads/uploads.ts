import { randomUUID } from 'node:crypto'
import type { Storage } from '../../../storage/storage.ts'
import { type Algorithm, canonical, createDigester } from '../../oci/digest.ts'
import type { Name } from '../../oci/name.ts'
import { parseSessionId, type SessionId } from '../../oci/sink.ts'
import type { Commit } from '../commit.ts'
import * as keys from '../keys.ts'
import { createLruCache } from '../lru.ts'
import type { Names } from '../names.ts'
import { createBodyWriter } from './body-writer.ts'
import { StoredUploadSession, type UploadContext, unknownUpload } from './upload-session.ts'

// Sessions whose running digest is cached; the bytes of others are read again at their end.
const maxSessions = 10_000

/** The upload sessions of the storage. They survive a restart. */
export class Uploads {
  readonly #context: UploadContext
  readonly #names: Names
  readonly #sessions = createLruCache<SessionId, StoredUploadSession>(maxSessions)

  constructor(storage: Storage, coordination: UploadContext['coordination'], commit: Commit, names: Names) {
    this.#context = { storage, coordination, commit, writeBody: createBodyWriter(), onEnd: id => void this.#sessions.delete(id) }
    this.#names = names
  }

  /** How many sessions are open, as far as this process knows. */
  get open(): number {
    return this.#sessions.size
  }

  /** Starts a session. `algorithm` is that of the digest that the client will name at its end. */
  async start(name: Name, algorithm: Algorithm = canonical): Promise<StoredUploadSession> {
    const id = randomUUID() as string as SessionId
    try {
      await this.#context.storage.put(keys.uploadStarted(name, id), Buffer.from(new Date().toISOString()), 'soon')
    } catch (error) {
      // On a full disk only the directory may have been created.
      await this.#context.storage.remove([keys.uploadStarted(name, id)], keys.uploads(name)).catch(() => {})
      throw error
    }
    const session = new StoredUploadSession(this.#context, name, id, { offset: 0, digester: createDigester(algorithm) })
    this.#sessions.set(id, session)
    return session
  }

  /** BLOB_UPLOAD_UNKNOWN unless `name` has such a session. */
  async resume(name: Name, id: SessionId): Promise<StoredUploadSession> {
    const known = this.#sessions.get(id)
    if (known) {
      if (known.name === name) return known
      throw unknownUpload(id)
    }
    const { storage } = this.#context
    const written = await storage.statUnfinished(keys.upload(name, id))
    if (!written && !(await storage.stat(keys.uploadStarted(name, id)))) throw unknownUpload(id)
    // Another request may have resumed it since: one object per session, because its mutex keeps requests apart.
    const resumed = this.#sessions.get(id)
    if (resumed) return resumed
    const session = new StoredUploadSession(this.#context, name, id, { offset: written?.size ?? 0 })
    this.#sessions.set(id, session)
    return session
  }

  /**
   * Cancels the sessions of all repositories to which nothing was written since `before` (ms since the epoch); resolves
   * to how many.
   */
  async expire(before: number, signal: AbortSignal): Promise<number> {
    let count = 0
    for await (const name of this.#names.all()) {
      for await (const entry of this.#context.storage.walk(keys.uploads(name))) {
        if (signal.aborted) return count
        const id = parseSessionId(entry.name)
        const session = id && (await this.resume(name, id).catch(() => undefined))
        if (session && (await session.expire(before).catch(() => false))) count++
      }
    }
    return count
  }
}
