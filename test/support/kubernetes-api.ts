import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Test } from 'tap'
import type { KubernetesObject } from '../../src/kubernetes/object.ts'

/** A request as the server saw it. */
export interface ApiRequest {
  method: string
  /** Without the query. */
  path: string
  query: URLSearchParams
  body: unknown
}

/** An answer in place of the real one; the connection ends without one where `status` is 0. */
export interface ApiFault {
  when(request: ApiRequest): boolean
  status: number
  reason?: string
  message?: string
  retryAfter?: number
  /** How often; always if left out. */
  times?: number
}

interface Logged {
  version: number
  type: 'ADDED' | 'MODIFIED' | 'DELETED'
  object: KubernetesObject
  collection: string
}

interface Watcher {
  collection: string
  query: URLSearchParams
  response: ServerResponse
}

/** The kinds that the server has, by the path of their collections without a namespace. */
const kinds: Record<string, [apiVersion: string, kind: string]> = {
  '/api/v1/configmaps': ['v1', 'ConfigMap'],
  '/api/v1/events': ['v1', 'Event'],
  '/api/v1/nodes': ['v1', 'Node'],
  '/api/v1/pods': ['v1', 'Pod'],
  '/api/v1/secrets': ['v1', 'Secret'],
  '/api/v1/services': ['v1', 'Service'],
  '/apis/apps/v1/deployments': ['apps/v1', 'Deployment'],
  '/apis/coordination.k8s.io/v1/leases': ['coordination.k8s.io/v1', 'Lease'],
  '/apis/deckhouse.io/v1alpha1/moduleconfigs': ['deckhouse.io/v1alpha1', 'ModuleConfig'],
  '/apis/policy/v1/poddisruptionbudgets': ['policy/v1', 'PodDisruptionBudget']
}

/**
 * An API server in memory, as far as a controller uses one: lists in pages, watches with bookmarks that expire, optimistic
 * locking, server-side apply by one manager, merge patches. What the real one does is shown by the tests of a cluster.
 */
export class FakeApi {
  readonly requests: ApiRequest[] = []
  readonly faults: ApiFault[] = []
  /** Called before each write is answered. */
  onWrite: ((request: ApiRequest) => void) | undefined
  url = ''
  #version = 1
  #compacted = 0
  readonly #objects = new Map<string, KubernetesObject>()
  readonly #log: Logged[] = []
  readonly #watchers = new Set<Watcher>()

  static async start(t: Test): Promise<FakeApi> {
    const api = new FakeApi()
    const server = createServer((request, response) => void api.#handle(request, response).catch(() => response.destroy()))
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    api.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
    t.teardown(() => {
      server.closeAllConnections()
      server.close()
    })
    return api
  }

  /** Writes as another client does. */
  put(object: KubernetesObject): KubernetesObject {
    return this.#store(pathOf(object), object)
  }

  get(kind: string, name: string): KubernetesObject | undefined {
    return [...this.#objects.values()].find(each => each.kind === kind && each.metadata.name === name)
  }

  all(kind: string): KubernetesObject[] {
    return [...this.#objects.values()].filter(each => each.kind === kind)
  }

  delete(kind: string, name: string): void {
    for (const [path, each] of this.#objects) if (each.kind === kind && each.metadata.name === name) this.#remove(path)
  }

  /** Forgets what happened so far: watches from an older version are answered 410. */
  compact(): void {
    this.#compacted = this.#version
  }

  /** Ends all watches, in the middle of an event if wanted. */
  cutWatches(rest = ''): void {
    for (const { response } of this.#watchers) rest === '' ? response.end() : response.write(rest, () => response.destroy())
    this.#watchers.clear()
  }

  bookmark(): void {
    for (const { collection, response } of this.#watchers) {
      const [apiVersion = '', kind = ''] = kinds[bare(collection)] ?? []
      send(response, { type: 'BOOKMARK', object: { apiVersion, kind, metadata: { resourceVersion: String(this.#version) } } })
    }
  }

  get watches(): number {
    return this.#watchers.size
  }

  count(text: string): number {
    return this.requests.filter(({ method, path }) => `${method} ${path}`.includes(text)).length
  }

  async #handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { pathname, searchParams } = new URL(request.url ?? '/', this.url)
    const text = Buffer.concat(await request.toArray()).toString()
    const seen: ApiRequest = {
      method: request.method ?? '',
      path: pathname,
      query: searchParams,
      body: text === '' ? undefined : JSON.parse(text)
    }
    this.requests.push(seen)
    const fault = this.faults.find(each => each.times !== 0 && each.when(seen))
    if (fault) {
      if (fault.times !== undefined) fault.times--
      if (fault.status === 0) return void request.socket.destroy()
      if (fault.retryAfter !== undefined) response.setHeader('retry-after', String(fault.retryAfter))
      return answer(response, fault.status, statusObject(fault.status, fault.reason ?? '', fault.message ?? 'a fault'))
    }
    const segments = pathname.split('/')
    const isCollection = bare(pathname) in kinds
    const collection = isCollection ? pathname : segments.slice(0, -1).join('/')
    if (!(bare(collection) in kinds))
      return answer(response, 404, statusObject(404, 'NotFound', 'the server could not find the requested resource'))
    if (seen.method === 'GET' && isCollection)
      return searchParams.has('watch') ? this.#watch(collection, searchParams, response) : this.#list(collection, searchParams, response)
    const [status, body] = seen.method === 'GET' ? this.#found(pathname) : this.#write(seen, collection)
    answer(response, status, body)
  }

  #found(path: string): [number, object] {
    const object = this.#objects.get(path)
    return object ? [200, object] : [404, statusObject(404, 'NotFound', `${path.split('/').at(-1)} not found`)]
  }

  #list(collection: string, query: URLSearchParams, response: ServerResponse): void {
    const all = [...this.#objects]
      .filter(([path, object]) => within(path, collection) && matches(object, query))
      .map(([, object]) => object)
    const from = Number(query.get('continue') ?? 0)
    const limit = Number(query.get('limit') ?? all.length) || all.length
    const items = all.slice(from, from + limit).map(({ apiVersion: _, kind: __, ...rest }) => rest)
    const more = from + limit < all.length ? { continue: String(from + limit) } : {}
    answer(response, 200, { metadata: { resourceVersion: String(this.#version), ...more }, items })
  }

  #watch(collection: string, query: URLSearchParams, response: ServerResponse): void {
    const from = Number(query.get('resourceVersion'))
    response.writeHead(200, { 'content-type': 'application/json' })
    if (from < this.#compacted) {
      send(response, { type: 'ERROR', object: statusObject(410, 'Expired', 'too old resource version') })
      return void response.end()
    }
    const watcher = { collection, query, response }
    this.#watchers.add(watcher)
    response.on('close', () => this.#watchers.delete(watcher))
    response.flushHeaders()
    for (const each of this.#log) if (each.version > from) this.#notify(watcher, each)
  }

  #notify({ collection, query, response }: Watcher, { type, object, collection: changed }: Logged): void {
    if (within(`${changed}/x`, collection) && matches(object, query)) send(response, { type, object })
  }

  #write(request: ApiRequest, collection: string): [number, object] {
    const { method, path, body } = request
    const given = body as KubernetesObject
    const target = method === 'POST' ? `${collection}/${given.metadata.name}` : path
    const before = this.#objects.get(target)
    const preconditions = (body as { preconditions?: { uid?: string; resourceVersion?: string } }).preconditions
    const { uid, resourceVersion } = preconditions ?? given.metadata ?? {}
    if (method === 'POST' && before) return [409, statusObject(409, 'AlreadyExists', `${given.metadata.name} already exists`)]
    if (method !== 'POST' && method !== 'PATCH' && !before) return [404, statusObject(404, 'NotFound', 'not found')]
    const stale = (resourceVersion && before?.metadata.resourceVersion !== resourceVersion) || (uid && before?.metadata.uid !== uid)
    if (method !== 'POST' && stale) return [409, statusObject(409, 'Conflict', 'the object has been modified')]
    if (before?.type !== undefined && given.type !== undefined && given.type !== before.type)
      return [422, statusObject(422, 'Invalid', `Secret "${given.metadata.name}" is invalid: type: field is immutable`)]
    this.onWrite?.(request)
    if (method === 'DELETE') {
      this.#remove(target)
      return [200, statusObject(200, '', '')]
    }
    const merged = method === 'PATCH' && before ? patched(before, given, request.query.has('force')) : given
    return [before ? 200 : 201, this.#store(target, merged as KubernetesObject)]
  }

  #store(path: string, object: KubernetesObject): KubernetesObject {
    const before = this.#objects.get(path)
    const { resourceVersion: _, ...metadata } = object.metadata
    const same =
      before &&
      JSON.stringify(withoutVersion(before)) ===
        JSON.stringify(withoutVersion({ ...before, ...object, metadata: { ...before.metadata, ...metadata } }))
    if (same) return before
    this.#version++
    const generation = (before?.metadata.generation ?? 0) + (JSON.stringify(before?.spec) === JSON.stringify(object.spec) ? 0 : 1)
    const stored = structuredClone({
      ...object,
      metadata: { ...metadata, uid: before?.metadata.uid ?? `uid-${this.#version}`, generation, resourceVersion: String(this.#version) }
    })
    this.#objects.set(path, stored)
    this.#record(before ? 'MODIFIED' : 'ADDED', path, stored)
    return stored
  }

  #remove(path: string): void {
    const object = this.#objects.get(path)
    if (!object) return
    this.#objects.delete(path)
    this.#version++
    this.#record('DELETED', path, { ...object, metadata: { ...object.metadata, resourceVersion: String(this.#version) } })
  }

  #record(type: Logged['type'], path: string, object: KubernetesObject): void {
    const logged = { type, object, version: this.#version, collection: path.split('/').slice(0, -1).join('/') }
    this.#log.push(logged)
    for (const watcher of this.#watchers) this.#notify(watcher, logged)
  }
}

function pathOf({ apiVersion, kind, metadata: { name, namespace } }: KubernetesObject): string {
  const found = Object.entries(kinds).find(([, each]) => each[0] === apiVersion && each[1] === kind)
  if (!found) throw new Error(`no kind ${kind}`)
  const [root = '', plural = ''] = [found[0].slice(0, found[0].lastIndexOf('/')), found[0].slice(found[0].lastIndexOf('/') + 1)]
  return `${root}${namespace === undefined ? '' : `/namespaces/${namespace}`}/${plural}/${name}`
}

function bare(collection: string): string {
  return collection.replace(/\/namespaces\/[^/]+/, '')
}

function within(path: string, collection: string): boolean {
  return path.startsWith(`${collection}/`) || (bare(collection) === collection && bare(path).startsWith(`${collection}/`))
}

function matches({ metadata: { name, labels = {} } }: KubernetesObject, query: URLSearchParams): boolean {
  const field = query.get('fieldSelector')
  if (field && field !== `metadata.name=${name}`) return false
  const selector = query.get('labelSelector')
  return !selector || selector.split(',').every(each => labels[each.split('=')[0] ?? ''] === each.split('=')[1])
}

// Server-side apply by the only manager: what it has applied before and leaves out is gone.
function patched(before: KubernetesObject, given: KubernetesObject, isApply: boolean): unknown {
  if (!isApply) return mergePatch(before, given)
  const metadata = mergePatch(before.metadata, given.metadata) as KubernetesObject['metadata']
  return { ...before, ...given, metadata }
}

function mergePatch(before: unknown, patch: unknown): unknown {
  if (typeof patch !== 'object' || patch === null || Array.isArray(patch)) return patch
  const result: Record<string, unknown> = typeof before === 'object' && before !== null ? { ...before } : {}
  for (const [key, value] of Object.entries(patch)) {
    if (value === null) delete result[key]
    else result[key] = mergePatch(result[key], value)
  }
  return result
}

function withoutVersion({ metadata: { resourceVersion: _, generation: __, ...metadata }, ...rest }: KubernetesObject): object {
  return { ...rest, metadata }
}

function statusObject(code: number, reason: string, message: string): object {
  return { apiVersion: 'v1', kind: 'Status', status: code < 300 ? 'Success' : 'Failure', code, reason, message }
}

function send(response: ServerResponse, event: object): void {
  response.write(`${JSON.stringify(event)}\n`)
}

function answer(response: ServerResponse, status: number, body: object): void {
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body))
}
