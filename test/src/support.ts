import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs'
import { readdir, readFile } from 'node:fs/promises'
import { Agent, type IncomingHttpHeaders, type OutgoingHttpHeaders, request } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { hashSync } from '@node-rs/bcrypt'
import { pino } from 'pino'
import type { Test } from 'tap'
import { stringify } from 'yaml'
import { loadConfig } from '../../config/load.ts'
import type { Config } from '../../config/schema.ts'
import type { GrantSetting } from '../../config/sections/kinds.ts'
import { type Registry, startRegistry } from '../../src/app/server.ts'
import { Audit } from '../../src/telemetry/audit.ts'

/** Settings as they stand in the file; what is left out has its default, the ports are any free ones. */
export interface Given {
  server?: Record<string, unknown>
  auth?: Record<string, unknown>
  limits?: Record<string, unknown>
  storage?: Record<string, unknown>
  root?: string
  writeLimit?: string
  cache?: Record<string, unknown>
  log?: Record<string, unknown>
}

/** One line of the log. */
export type Line = Record<string, unknown> & { msg: string; level: number }

/** A registry in this process. */
export interface Served extends Registry {
  readonly root: string
  readonly config: Config
  readonly lines: Line[]
  /** The lines with this message, from the `from`th line on. */
  logged(msg: string, from?: number): Line[]
}

/** An answer, whole. */
export interface Answer {
  status: number
  headers: IncomingHttpHeaders
  rawHeaders: string[]
  body: Buffer
}

/** What a request is made of, besides its method and path. */
export interface Asked {
  headers?: OutgoingHttpHeaders
  body?: string | Uint8Array
  agent?: Agent
}

/** Tests do not depend on how full the machine's disk is. */
export const unbounded = { reserve: 0, inodeReserve: 0 }

/** A new directory that goes away with the test; its path is short enough for a Unix socket. */
export function folder(t: Test): string {
  const made = realpathSync(mkdtempSync(join(tmpdir(), 'api-')))
  t.teardown(() => rmSync(made, { recursive: true, force: true }))
  return made
}

/** The configuration of a file with these settings. */
export function configured(t: Test, { server, storage, root, writeLimit, ...sections }: Given = {}): Config {
  const place = folder(t)
  const ports = { listen: '127.0.0.1:0', admin: '127.0.0.1:0', names: ['registry.test:5001'], drain: '1s' }
  const filesystem = { root: root ?? join(place, 'root'), ...(writeLimit === undefined ? {} : { writeLimit }) }
  const settings = {
    server: { ...ports, ...server },
    storage: { ...unbounded, ...(storage?.['s3'] ? {} : { filesystem }), ...storage },
    ...sections
  }
  const file = join(place, 'registry.yaml')
  writeFileSync(file, stringify(settings))
  return loadConfig({ file, env: {} })
}

/** An audit stream whose lines go nowhere. */
export function unheardAudit(): Promise<Audit> {
  return Audit.open('stdout', { log: pino({ level: 'silent' }, { write: () => {} }), onLost: () => {} })
}

/** A registry on free ports of the loopback address, stopped with the test. */
export async function serve(t: Test, given: Given = {}): Promise<Served> {
  const config = configured(t, given)
  const lines: Line[] = []
  const log = pino({ level: 'info', base: null }, { write: line => void lines.push(JSON.parse(line)) })
  const registry = await startRegistry(config, log)
  let stopped: Promise<boolean> | undefined
  const stop = () => {
    stopped ??= registry.stop()
    return stopped
  }
  t.teardown(async () => void (await stop()))
  const logged = (msg: string, from = 0) => lines.slice(from).filter(line => line.msg === msg)
  return { ...registry, stop, config, root: config.storage.filesystem.root, lines, logged }
}

/** The section `auth` for users with these roles: if none are given, `ro` may pull, and `rw` may do everything. */
export function guarded(
  t: Test,
  roles: Record<string, GrantSetting[]> = { ro: ['pull'], rw: ['pull', 'push', 'delete'] }
): { users: Record<string, unknown> } {
  const file = join(folder(t), 'htpasswd')
  writeFileSync(
    file,
    Object.keys(roles)
      .map(user => `${user}:${hashSync(password, 4)}\n`)
      .join('')
  )
  return { users: { file, roles } }
}

/** The `Authorization` of a user. */
export function basicOf(user: string): string {
  return `Basic ${Buffer.from(`${user}:${password}`).toString('base64')}`
}

const password = 'tale-of-a-password'

/** Asks `<host>:<port>` over a connection of its own, unless an agent is given. */
export async function ask(address: string, method: string, path: string, { headers = {}, body, agent }: Asked = {}): Promise<Answer> {
  const [host, port] = address.split(':')
  const length = body === undefined ? {} : { 'content-length': Buffer.byteLength(body) }
  const outgoing = request({ host, port, method, path, agent: agent ?? false, headers: { ...length, ...headers } })
  outgoing.end(body)
  const [response] = await once(outgoing, 'response')
  const chunks: Buffer[] = await response.toArray()
  // The registry is in this process, and writes its log line in a turn after the one that brought the last byte here.
  for (let turns = 0; turns < 5; turns++) await new Promise(setImmediate)
  return { status: response.statusCode, headers: response.headers, rawHeaders: response.rawHeaders, body: Buffer.concat(chunks) }
}

/** One connection for several requests. */
export function oneConnection(t: Test): Agent {
  const agent = new Agent({ keepAlive: true, maxSockets: 1 })
  t.teardown(() => agent.destroy())
  return agent
}

/** The code of an error's body, which has the form that the distribution-spec gives to all of them. */
export function codeOf({ headers, body }: Answer): string | undefined {
  if (headers['content-type'] !== 'application/json') return `not JSON: ${headers['content-type']}`
  return JSON.parse(body.toString()).errors[0].code
}

/** The reason that an error's body gives. */
export function reasonOf({ body }: Answer): string | undefined {
  return JSON.parse(body.toString()).errors[0].detail?.reason
}

/** Bytes that no other test has. */
export function bytesOf(length: number): Buffer {
  return randomBytes(length)
}

/** The digest of bytes. */
export function digestOf(bytes: string | Uint8Array, algorithm: 'sha256' | 'sha512' = 'sha256'): string {
  return `${algorithm}:${createHash(algorithm).update(bytes).digest('hex')}`
}

/** Pushes a blob and gives its digest. */
export async function pushBlob({ listen }: Served, name: string, bytes: Uint8Array, headers: OutgoingHttpHeaders = {}): Promise<string> {
  const digest = digestOf(bytes)
  const { status, body } = await ask(listen, 'POST', `/v2/${name}/blobs/uploads/?digest=${digest}`, { body: bytes, headers })
  if (status !== 201) throw new Error(`POST of a blob answered ${status}: ${body}`)
  return digest
}

/** Starts an upload session and gives its location. */
export async function startSession({ listen }: Served, name: string): Promise<string> {
  const { status, headers } = await ask(listen, 'POST', `/v2/${name}/blobs/uploads/`)
  if (status !== 202 || headers.location === undefined) throw new Error(`POST of an upload answered ${status}`)
  return headers.location
}

export const imageType = 'application/vnd.oci.image.manifest.v1+json'
export const indexType = 'application/vnd.oci.image.index.v1+json'

/** An image manifest over a config and layers, each as its bytes. */
export function imageOf(blobs: [config: Uint8Array, ...layers: Uint8Array[]], more: Record<string, unknown> = {}): string {
  const [config, ...layers] = blobs.map(bytes => ({ mediaType: 'application/vnd.test.blob', digest: digestOf(bytes), size: bytes.length }))
  return JSON.stringify({ schemaVersion: 2, mediaType: imageType, config, layers, ...more })
}

/** Pushes a manifest. */
export function putManifest(
  { listen }: Served,
  name: string,
  reference: string,
  body: string | Uint8Array,
  type = imageType
): Promise<Answer> {
  return ask(listen, 'PUT', `/v2/${name}/manifests/${reference}`, { body, headers: { 'content-type': type } })
}

/** Pushes an image of one small config under a tag; gives its manifest and digest. */
export async function pushImage(
  served: Served,
  name: string,
  tag: string,
  more: Record<string, unknown> = {},
  headers: OutgoingHttpHeaders = {}
) {
  const config = bytesOf(32)
  await pushBlob(served, name, config, headers)
  const manifest = imageOf([config], more)
  const put = { body: manifest, headers: { 'content-type': imageType, ...headers } }
  const { status, body } = await ask(served.listen, 'PUT', `/v2/${name}/manifests/${tag}`, put)
  if (status !== 201) throw new Error(`PUT of a manifest answered ${status}: ${body}`)
  return { manifest, digest: digestOf(manifest), config: digestOf(config) }
}

/** Where the bytes of a digest rest. */
export function dataPath(root: string, digest: string): string {
  const [algorithm = '', encoded = ''] = digest.split(':')
  return join(root, 'docker/registry/v2/blobs', algorithm, encoded.slice(0, 2), encoded, 'data')
}

/** Where the link of a blob in a repository rests. */
export function layerPath(root: string, name: string, digest: string): string {
  return join(root, 'docker/registry/v2/repositories', name, '_layers', digest.replace(':', '/'), 'link')
}

/** Waits until something holds; the test's own time limit ends what never does. */
export async function until(holds: () => unknown): Promise<void> {
  while (!(await holds())) await sleep(20)
}

/** The value of a metric; labels as Prometheus writes them, `{a="b"}`. Undefined if there is none. */
export async function metric({ admin }: Served, name: string, labels = ''): Promise<number | undefined> {
  const { body } = await ask(admin, 'GET', '/metrics')
  const line = body
    .toString()
    .split('\n')
    .find(each => each.startsWith(`${name}${labels} `))
  return line === undefined ? undefined : Number(line.slice(line.lastIndexOf(' ') + 1))
}

/** Files below the root that this process holds open, without those that the storage itself keeps open. */
export async function openFiles(root: string): Promise<string[]> {
  const { readlink } = await import('node:fs/promises')
  const links = await Promise.all((await readdir('/proc/self/fd')).map(fd => readlink(`/proc/self/fd/${fd}`).catch(() => '')))
  return links.filter(link => link.startsWith(`${root}/`) && !/\/\.registry\/(lock|account)/.test(link))
}

/** All files below a directory, as paths relative to it, in order. */
export async function filesBelow(directory: string): Promise<string[]> {
  const entries = await readdir(directory, { recursive: true, withFileTypes: true })
  return entries
    .filter(entry => entry.isFile())
    .map(entry => join(entry.parentPath, entry.name).slice(directory.length + 1))
    .sort()
}

/** The text of a file below a root. */
export function textOf(...path: string[]): Promise<string> {
  return readFile(join(...path), 'utf8')
}
