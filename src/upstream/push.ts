import { LRUCache } from 'lru-cache'
import { type Algorithm, algorithmOf, canonical, type Digest, digestOf, isDigest } from '../oci/digest.ts'
import { mediaTypeOf } from '../oci/manifest.ts'
import { type Reference, referenceText, type Tag } from '../oci/name.ts'
import type { PutManifest, SessionId, Sink } from '../oci/sink.ts'
import { fieldOf } from './connection/headers.ts'
import { drain } from './connection/read-body.ts'
import type { UpstreamRequest, UpstreamResponse } from './endpoint-client.ts'
import { UpstreamError, type UpstreamFault } from './error.ts'
import type { FailoverClient } from './failover.ts'
import { unusableResponse } from './failure.ts'
import { statManifest } from './manifests.ts'
import { type UploadDeps, UpstreamUpload } from './upload.ts'

/** Dependencies of an UpstreamSink. */
export interface UpstreamSinkDeps {
  client: FailoverClient
  run: UploadDeps['run']
  hasBlob: (name: string, digest: Digest, signal: AbortSignal) => Promise<boolean>
}

const neverAborted = new AbortController().signal
// end-7b: a registry has to take at least 10 tags in one request.
const tagsPerRequest = 10
const maxSessions = 1_000

/**
 * Pushes to another registry over HTTP. Names and references are the registry's own. Errors are UpstreamErrors, the
 * signal's reason, or the error of the pushed body. A request that is not idempotent is sent once; another endpoint
 * gets it only if the one before cannot have received it.
 */
export class UpstreamSink implements Sink {
  readonly #client: FailoverClient
  readonly #run: UploadDeps['run']
  readonly #hasBlob: UpstreamSinkDeps['hasBlob']
  /** Sessions that can be resumed. Nothing tells when a caller has abandoned one. */
  readonly #sessions = new LRUCache<SessionId, { name: string; upload: UpstreamUpload }>({ max: maxSessions })

  constructor({ client, run, hasBlob }: UpstreamSinkDeps) {
    this.#client = client
    this.#run = run
    this.#hasBlob = hasBlob
  }

  /** Starts a session (end-4a). */
  startUpload(name: string, algorithm: Algorithm = canonical, signal: AbortSignal = neverAborted): Promise<UpstreamUpload> {
    const query = algorithm === canonical ? '' : `?digest-algorithm=${algorithm}`
    const request: UpstreamRequest = {
      resource: 'upload',
      method: 'POST',
      path: `/v2/${name}/blobs/uploads/${query}`,
      scope: pushScope(name)
    }
    return this.#run(() =>
      this.#client.write(request, signal, async answer => {
        await drain(answer.body)
        if (answer.status !== 202) throw invalid(answer, `${answer.status} does not begin an upload session`)
        return this.#open(answer, name)
      })
    )
  }

  /** A sink resumes only the sessions that it started and that have not ended, of those the last 1,000. */
  async resumeUpload(name: string, id: SessionId): Promise<UpstreamUpload> {
    const session = this.#sessions.get(id)
    if (session?.name !== name) throw new UpstreamError('not-found', 'no such upload session was begun here', { endpoint: '' })
    await session.upload.refresh()
    return session.upload
  }

  #open(answer: UpstreamResponse, name: string): UpstreamUpload {
    const upload = new UpstreamUpload(answer, {
      client: this.#client,
      name,
      scope: pushScope(name),
      run: this.#run,
      has: (digest, signal) => this.#hasBlob(name, digest, signal),
      onEnd: id => this.#sessions.delete(id)
    })
    this.#sessions.set(upload.id, { name, upload })
    return upload
  }

  /** Mounts a blob (end-11). False if the registry refuses, or starts an upload session instead, which is cancelled. */
  mountBlob(name: string, digest: Digest, from?: string, signal: AbortSignal = neverAborted): Promise<boolean> {
    const query = new URLSearchParams({ mount: digest, ...(from === undefined ? {} : { from }) })
    const rights = from === undefined || from === name ? pushScope(name) : `${pushScope(name)} repository:${from}:pull`
    const request: UpstreamRequest = { resource: 'upload', method: 'POST', path: `/v2/${name}/blobs/uploads/?${query}`, scope: rights }
    return this.#run(async () => {
      try {
        const upload = await this.#client.write(request, signal, async answer => {
          await drain(answer.body)
          return answer.status === 202 ? this.#open(answer, name) : undefined
        })
        await upload?.cancel().catch(() => {})
        return upload === undefined
      } catch (error) {
        if (error instanceof UpstreamError && mountRefusals.has(error.kind)) return false
        throw error
      }
    })
  }

  /**
   * Puts a manifest under its reference with `?tag=` (end-7b), then under each tag that the response does not confirm
   * (end-7a).
   */
  async putManifest(
    name: string,
    reference: Reference,
    manifest: { mediaType?: string; bytes: Uint8Array },
    tags: readonly Tag[],
    signal: AbortSignal = neverAborted
  ): Promise<PutManifest> {
    const digest = reference.digest ?? digestOf(manifest.bytes)
    const batch = reference.digest === undefined ? [] : tags.slice(0, tagsPerRequest)
    const first = await this.#put(name, reference, { digest, manifest, tags: batch }, signal)
    const further = reference.tag === undefined ? tags : [reference.tag, ...tags]
    const set = new Set<string>(reference.tag === undefined ? first.tags : [reference.tag])
    for (const tag of further) {
      if (set.has(tag)) continue
      await this.#put(name, { tag }, { digest, manifest, tags: [] }, signal)
      set.add(tag)
    }
    const { subject } = first
    return { digest, tags: [...new Set(further)].map(tag => ({ tag })), ...(subject === undefined ? {} : { subject }) }
  }

  #put(
    name: string,
    reference: Reference,
    { digest, manifest, tags }: { digest: Digest; manifest: { mediaType?: string; bytes: Uint8Array }; tags: readonly Tag[] },
    signal: AbortSignal
  ): Promise<{ tags: string[]; subject?: Digest }> {
    const query = tags.length === 0 ? '' : `?${new URLSearchParams(tags.map((tag): [string, string] => ['tag', tag]))}`
    const request: UpstreamRequest = {
      ...manifestRequest('PUT', name, reference, pushScope(name)),
      path: `/v2/${name}/manifests/${referenceText(reference)}${query}`,
      headers: { 'content-type': manifest.mediaType ?? mediaTypeOf(manifest.bytes) },
      body: { bytes: manifest.bytes }
    }
    return this.#run(() =>
      this.#client.write(request, signal, async answer => {
        await drain(answer.body)
        const named = fieldOf(answer.headers, 'docker-content-digest')
        if (named !== undefined && isDigest(named) && algorithmOf(named) === algorithmOf(digest) && named !== digest)
          throw unusableResponse('broken', `stored as ${named}`, answer, 'DIGEST')
        const subject = fieldOf(answer.headers, 'oci-subject')
        return { tags: listOf(answer.headers['oci-tag']), ...(subject !== undefined && isDigest(subject) ? { subject } : {}) }
      })
    )
  }

  /** Removes a blob (end-10). */
  deleteBlob(name: string, digest: Digest, signal: AbortSignal = neverAborted): Promise<void> {
    const request: UpstreamRequest = { resource: 'blob', method: 'DELETE', path: `/v2/${name}/blobs/${digest}`, scope: deleteScope(name) }
    return this.#run(() => this.#client.write(request, signal, answer => drain(answer.body)))
  }

  /**
   * Removes a manifest or a tag (end-9). A registry does not tell which tags go with a digest, so `tags` is empty then.
   */
  deleteManifest(name: string, reference: Reference, signal: AbortSignal = neverAborted): Promise<{ digest: Digest; tags: Tag[] }> {
    return this.#run(async () => {
      const digest = reference.digest ?? (await statManifest(this.#client, name, reference, signal)).digest
      await this.#client.write(manifestRequest('DELETE', name, reference, deleteScope(name)), signal, answer => drain(answer.body))
      return { digest, tags: reference.tag === undefined ? [] : [reference.tag] }
    })
  }
}

// `from` does not have the blob or may not be read, or the registry has no mounts: the blob can be uploaded instead.
const mountRefusals = new Set<UpstreamFault>(['not-found', 'denied', 'unauthorized', 'invalid'])

function pushScope(name: string): string {
  return `repository:${name}:pull,push`
}

function deleteScope(name: string): string {
  return `repository:${name}:delete`
}

function manifestRequest(method: 'PUT' | 'DELETE', name: string, reference: Reference, scope: string): UpstreamRequest {
  return { resource: 'manifest', method, path: `/v2/${name}/manifests/${referenceText(reference)}`, scope }
}

function listOf(field: string | string[] | undefined): string[] {
  return [field ?? []].flat().flatMap(each => each.split(',').map(tag => tag.trim()))
}

function invalid(response: UpstreamResponse, reason: string): UpstreamError {
  return unusableResponse('invalid', reason, response)
}
