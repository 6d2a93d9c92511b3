import { setTimeout as sleep } from 'node:timers/promises'
import { ApiError, hasStatus } from './api-error.ts'
import type { KubernetesClient, WatchEvent } from './client.ts'
import type { KubernetesObject } from './object.ts'
import { type CollectionName, collectionPath } from './paths.ts'

/** Which objects are followed, and how they are kept. */
export interface InformerOptions extends CollectionName {
  /** `metadata.name=deckhouse`, or a selector of labels. */
  fieldSelector?: string
  labelSelector?: string
  /** What is kept of an object; `managedFields` never are. */
  keep?(object: KubernetesObject): KubernetesObject
  /** Something has changed, the health of the watch included. */
  changed(): void
}

const pageSize = 500
const watchSeconds = 300
const silentMs = (watchSeconds + 15) * 1000
const firstPauseMs = 500
const longestPauseMs = 30_000
// A watch that lasted so long did not fail.
const steadyMs = 10_000

/**
 * The objects of a collection, followed by list and watch (Kubernetes API concepts, "Efficient detection of changes"):
 * a watch that ends is resumed from the last version seen, which bookmarks keep young; one whose version has expired
 * begins with a new list. While the API server does not answer, the last known objects stay.
 */
export class Informer {
  readonly #client: KubernetesClient
  readonly #options: InformerOptions
  #items = new Map<string, KubernetesObject>()
  #version: string | undefined
  #fault: ApiError | undefined
  #isSynced = false

  constructor(client: KubernetesClient, options: InformerOptions) {
    this.#client = client
    this.#options = options
  }

  /** By `namespace/name`, or by name where there is no namespace. */
  get items(): ReadonlyMap<string, KubernetesObject> {
    return this.#items
  }

  /** Whether the collection was read completely once. A kind that the cluster does not have is empty, and read. */
  get isSynced(): boolean {
    return this.#isSynced
  }

  /** Why it cannot be followed now; a kind that the cluster does not have is none. */
  get fault(): ApiError | undefined {
    return this.#fault && this.#fault.status !== 404 ? this.#fault : undefined
  }

  /** Follows the collection until the signal. */
  async run(signal: AbortSignal): Promise<void> {
    let failures = 0
    while (!signal.aborted) {
      const began = performance.now()
      try {
        if (this.#version === undefined) await this.#list(signal)
        await this.#watch(signal)
        failures = performance.now() - began > steadyMs ? 0 : failures + 1
      } catch (error) {
        if (signal.aborted) return
        failures++
        this.#failed(error)
      }
      const pause = Math.min(firstPauseMs * 2 ** (failures - 1), longestPauseMs)
      await sleep(failures === 0 ? 0 : pause * (0.5 + Math.random()), undefined, { signal }).catch(() => {})
    }
  }

  async #list(signal: AbortSignal): Promise<void> {
    const items = new Map<string, KubernetesObject>()
    const { apiVersion, kind } = this.#options
    let page: { metadata?: { resourceVersion?: string; continue?: string }; items?: KubernetesObject[] } = {}
    do {
      const next = page.metadata?.continue
      page = await this.#client.get(this.#path({ limit: String(pageSize), ...(next ? { continue: next } : {}) }), signal)
      // Objects of a list have neither version nor kind of their own.
      for (const item of page.items ?? []) add(items, this.#kept({ ...item, apiVersion, kind }))
    } while (page.metadata?.continue)
    this.#items = items
    this.#version = page.metadata?.resourceVersion
    this.#fault = undefined
    this.#isSynced = true
    this.#options.changed()
  }

  async #watch(signal: AbortSignal): Promise<void> {
    const query = { watch: 'true', allowWatchBookmarks: 'true', timeoutSeconds: String(watchSeconds), resourceVersion: this.#version ?? '' }
    for await (const event of this.#client.watch(this.#path(query), { signal, silentMs, opened: () => this.#recovered() }))
      this.#take(event)
  }

  #take({ type, object }: WatchEvent): void {
    if (type === 'ERROR') {
      const {
        message = 'the watch failed',
        code = 0,
        reason = ''
      } = object as unknown as { message?: string; code?: number; reason?: string }
      throw new ApiError(message, { status: code, reason })
    }
    this.#version = object.metadata.resourceVersion ?? this.#version
    if (type === 'BOOKMARK') return
    if (type === 'DELETED') this.#items.delete(keyOf(object))
    else add(this.#items, this.#kept(object))
    this.#options.changed()
  }

  #recovered(): void {
    if (this.#fault === undefined) return
    this.#fault = undefined
    this.#options.changed()
  }

  /** Keeps an object as this client has just written it, before the watch tells of it. */
  note(object: KubernetesObject): void {
    add(this.#items, this.#kept(object))
  }

  /** Drops an object that this client has just removed. */
  forget(object: KubernetesObject): void {
    this.#items.delete(keyOf(object))
  }

  #failed(error: unknown): void {
    const fault =
      error instanceof ApiError ? error : new ApiError(String((error as Error).message), { status: 0, reason: '', cause: error })
    // Also an answer that this client does not know how to go on from.
    if (fault.status !== 0 && fault.status !== 429 && fault.status < 500) this.#version = undefined
    if (hasStatus(fault, 410)) return
    if (hasStatus(fault, 404)) {
      this.#items = new Map()
      this.#isSynced = true
    }
    this.#fault = fault
    this.#options.changed()
  }

  #kept(object: KubernetesObject): KubernetesObject {
    const metadata = { ...object.metadata, managedFields: undefined }
    const bare = { ...object, metadata }
    return this.#options.keep?.(bare) ?? bare
  }

  #path(query: Record<string, string>): string {
    const { fieldSelector, labelSelector } = this.#options
    const selectors = { ...(fieldSelector ? { fieldSelector } : {}), ...(labelSelector ? { labelSelector } : {}) }
    return `${collectionPath(this.#options)}?${new URLSearchParams({ ...query, ...selectors })}`
  }
}

function add(items: Map<string, KubernetesObject>, object: KubernetesObject): void {
  items.set(keyOf(object), object)
}

function keyOf({ metadata: { name, namespace } }: KubernetesObject): string {
  return namespace === undefined ? name : `${namespace}/${name}`
}
