import { chmod, lstat, mkdir, rm } from 'node:fs/promises'
import type { Server } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import { dirname } from 'node:path'
import Fastify, { type FastifyInstance, type FastifyServerOptions } from 'fastify'
import { configHash } from '../config/effective.ts'
import type { Address, Config } from '../config/schema.ts'
import pkg from '../package.json' with { type: 'json' }
import type { Storage } from '../storage/storage.ts'
import { type Access, createAccess } from './access/access.ts'
import { deferContinue, Gateway } from './api/gateway.ts'
import { Progress } from './api/progress.ts'
import { Local } from './backend/local.ts'
import { type Content, openContent } from './content/content.ts'
import { checkReadable, checkWritable } from './health.ts'
import { type Health, registerAdmin } from './ports/admin.ts'
import { registerControl } from './ports/control.ts'
import { clientAddress, verifiedName } from './ports/forwarded.ts'
import { createPort, drain, refuseGarbage } from './ports/listen.ts'
import { openTls, type Tls } from './ports/tls.ts'
import { openRoot } from './root.ts'
import type { Logger } from './telemetry/log.ts'
import { createMetrics, type Metrics } from './telemetry/metrics.ts'
import { openUsers } from './users.ts'

/** A running registry. */
export interface Registry {
  /** Where the ports listen, as `<host>:<port>`; a port of 0 was any free one. */
  readonly listen: string
  readonly admin: string
  /** Lets running transfers end for at most `server.drain`, then ends; resolves to whether all of them could. */
  stop(): Promise<boolean>
}

// How often files that may change are looked at, in ms; a change is taken when two looks agree.
const watchInterval = 5_000
const sweepIntervals = { least: 250, most: 10 * 60_000 }
const controlLimits = { connections: 64, head: 10_000 }

/** Starts everything that `config` names; on failure nothing is left running. The only place where the parts meet. */
export async function startRegistry(config: Config, log: Logger): Promise<Registry> {
  const stack = new AsyncDisposableStack()
  try {
    return await start(config, log, stack)
  } catch (error) {
    await stack.disposeAsync()
    throw error
  }
}

async function start(config: Config, log: Logger, stack: AsyncDisposableStack): Promise<Registry> {
  const began = Date.now()
  const metrics = createMetrics()
  metrics.build.set({ version: pkg.version, node: process.version }, 1)
  metrics.config.set({ hash: configHash(config), mode: config.registry.mode }, 1)

  const storage = await openRoot(config.storage.filesystem.root, log)
  stack.defer(() => storage.close())
  const content = openContent(storage, (key, reason) => {
    metrics.damaged.inc()
    log.error({ key, reason }, 'stored content is damaged')
  })
  const backend = new Local(content)
  const access = await openAccess(config, metrics, log, stack)
  const tls = await openPortTls(config, metrics, log, stack)
  const progress = new Progress(config.limits.minimumRate)
  stack.defer(() => progress.close())

  const names = new Set(config.server.names)
  const gateway = new Gateway({
    backendFor: ns => (ns === undefined || names.has(ns) ? backend : undefined),
    identify: async (request, address) => {
      const { authorization } = request.headers
      const identity = await access.authenticate({ authorization, certificateName: verifiedName(request.socket), address })
      return {
        ...(identity.user === undefined ? {} : { user: identity.user }),
        demand: need => (need === 'base' ? access.authorizeBase(identity) : need !== 'open' && access.authorize(identity, need))
      }
    },
    addressOf: request => clientAddress(request, config.server.forwarders),
    limits: config.limits,
    free: async () => (await storage.usage()).free,
    progress,
    log,
    metrics
  })

  const health: Health = {
    readable: () => checkReadable(storage),
    writable: () => checkWritable(storage),
    status: async () => ({
      mode: backend.mode,
      version: pkg.version,
      uptimeSeconds: Math.floor((Date.now() - began) / 1000),
      listen: addressText(port),
      storage: { root: config.storage.filesystem.root, ...(await storage.usage()) },
      requests: { running: gateway.running, uploading: gateway.uploading },
      log: { level: log.level }
    })
  }
  watchState(metrics, { storage, gateway, content })
  sweepUploads(content, config.limits.uploadIdle, log, stack)

  const port = await openPort(config, tls, metrics, log, gateway)
  stack.defer(async () => void (await drain(port, 0)))
  const admin = await openPlainPort(config.server.admin, config, app => registerAdmin(app, { health, metrics }))
  stack.defer(async () => void (await drain(admin, 0)))
  const control = await openControl(config, log, health)
  if (control) stack.defer(async () => void (await drain(control, 0)))

  log.info(
    {
      version: pkg.version,
      mode: backend.mode,
      listen: addressText(port),
      admin: addressText(admin),
      tls: tls !== undefined,
      root: config.storage.filesystem.root
    },
    'the registry is ready'
  )
  return {
    listen: addressText(port),
    admin: addressText(admin),
    stop: async () => {
      log.info({ running: gateway.running, limit: config.server.drain }, 'stopping: running transfers may end')
      const clean = await drain(port, config.server.drain)
      await stack.disposeAsync()
      log.info({ clean }, 'the registry has stopped')
      return clean
    }
  }
}

async function openAccess(config: Config, metrics: Metrics, log: Logger, stack: AsyncDisposableStack): Promise<Access> {
  const { users, anonymous } = config.auth
  const opened =
    users &&
    (await openUsers({
      file: users.file,
      interval: watchInterval,
      onReload: count => log.info({ file: users.file, passwords: count }, 'users were read again'),
      onFault: fault => {
        metrics.reloadFaults.inc({ kind: 'users' })
        log.error({ err: fault, file: users.file }, 'the changed users file cannot be used; the one before it stays in force')
      }
    }))
  if (opened) stack.defer(() => opened.close())
  const onOutcome = (outcome: string) => metrics.authentications.inc({ outcome })
  return createAccess({ users: opened?.credentials, roles: users?.roles ?? {}, anonymous, onOutcome })
}

async function openPortTls(config: Config, metrics: Metrics, log: Logger, stack: AsyncDisposableStack): Promise<Tls | undefined> {
  const files = config.server.tls
  if (!files) return undefined
  const publish = (expiry: Tls['expiry']) => {
    for (const [kind, date] of Object.entries(expiry)) metrics.certificateExpiry.set({ kind }, date.getTime() / 1000)
  }
  const tls = await openTls({
    files,
    interval: watchInterval,
    now: Date.now,
    onReload: expiry => {
      publish(expiry)
      log.info({ expiry }, 'certificates were read again')
    },
    onFault: fault => {
      metrics.reloadFaults.inc({ kind: 'certificates' })
      log.error({ err: fault, files }, 'a certificate needs attention')
    },
    onRefused: refused => log.warn(refused, 'a client certificate did not verify; its connection is closed')
  })
  publish(tls.expiry)
  stack.defer(() => tls.close())
  return tls
}

// Values that are read when Prometheus asks.
function watchState(metrics: Metrics, { storage, gateway, content }: { storage: Storage; gateway: Gateway; content: Content }): void {
  metrics.gauge('registry_storage_bytes', 'Bytes of the filesystem that holds the storage.', ['state'], async function () {
    const { free, total } = await storage.usage()
    this.set({ state: 'free' }, free)
    this.set({ state: 'total' }, total)
  })
  metrics.gauge('registry_storage_inodes', 'Inodes of the filesystem that holds the storage.', ['state'], async function () {
    const { inodesFree, inodesTotal } = await storage.usage()
    this.set({ state: 'free' }, inodesFree)
    this.set({ state: 'total' }, inodesTotal)
  })
  metrics.gauge('registry_requests_running', 'Requests that are being answered.', [], function () {
    this.set(gateway.running)
  })
  metrics.gauge('registry_uploads_open', 'Upload sessions, and those of them that a request is writing to.', ['state'], function () {
    this.set({ state: 'open' }, content.uploads.open)
    this.set({ state: 'writing' }, gateway.uploading)
  })
}

function sweepUploads(content: Content, idle: number, log: Logger, stack: AsyncDisposableStack): void {
  const stopped = new AbortController()
  let sweeping = Promise.resolve()
  const sweep = async () => {
    const expired = await content.uploads.expire(Date.now() - idle, stopped.signal)
    if (expired > 0) log.info({ expired, idle }, 'idle upload sessions were removed')
  }
  const interval = Math.min(sweepIntervals.most, Math.max(sweepIntervals.least, idle / 4))
  const timer = setInterval(() => {
    sweeping = sweeping.then(sweep).catch(error => log.error({ err: error }, 'idle upload sessions could not be removed'))
  }, interval)
  timer.unref()
  stack.defer(async () => {
    clearInterval(timer)
    stopped.abort()
    await sweeping
  })
}

async function openPort(config: Config, tls: Tls | undefined, metrics: Metrics, log: Logger, gateway: Gateway): Promise<Server> {
  const limits = { connections: config.limits.connections, head: config.limits.minimumRate.per }
  const app = createApp(
    listener => createPort(listener, tls?.options, limits),
    (_error, request, reply) => void gateway.handle(request, reply)
  )
  const server = app.server
  gateway.register(app)
  deferContinue(server)
  if (tls) tls.attach(server as unknown as Parameters<Tls['attach']>[0])
  server.on('drop', () => {
    metrics.connectionsDropped.inc()
    log.warn({ limit: config.limits.connections }, 'a connection was refused: limits.connections is reached')
  })
  await app.ready()
  await listen(server, config.server.listen, 'server.listen')
  return server
}

async function openPlainPort(address: Address, config: Config, register: (app: FastifyInstance) => void): Promise<Server> {
  const app = createApp(listener =>
    createPort(listener, undefined, { connections: config.limits.connections, head: config.limits.minimumRate.per })
  )
  register(app)
  await app.ready()
  await listen(app.server, address, 'server.admin')
  return app.server
}

async function openControl(config: Config, log: Logger, health: Health): Promise<Server | undefined> {
  const path = config.server.control
  const app = createApp(listener => createPort(listener, undefined, controlLimits))
  registerControl(app, {
    status: health.status,
    levels: [...Object.keys(log.levels.values), 'silent'],
    setLevel: level => {
      log.level = level
    }
  })
  await app.ready()
  try {
    await mkdir(dirname(path), { recursive: true })
    // The root is ours, so a socket that is there belongs to a process that is gone. Anything else was not put there by us.
    if ((await lstat(path).catch(() => undefined))?.isSocket()) await rm(path)
    await listen(app.server, path, 'server.control')
    await chmod(path, 0o600)
    return app.server
  } catch (error) {
    // Commands are a convenience; pulls are not.
    log.warn({ err: error, path }, 'the control socket cannot be opened: commands will not reach this process')
    return undefined
  }
}

function createApp(
  createServer: (listener: Parameters<typeof createPort>[0]) => Server,
  frameworkErrors?: NonNullable<FastifyServerOptions['frameworkErrors']>
): FastifyInstance {
  return Fastify({
    ...(frameworkErrors ? { frameworkErrors } : {}),
    serverFactory: listener => createServer(listener),
    clientErrorHandler: (error, socket) => refuseGarbage(error as NodeJS.ErrnoException, socket as Socket),
    routerOptions: { maxParamLength: 16 * 1024 },
    bodyLimit: 64 * 1024,
    requestIdHeader: false,
    genReqId: request => givenRequestId(request.headers['x-request-id']) ?? nextRequestId(),
    exposeHeadRoutes: false
  })
}

let requests = 0
const started = process.pid.toString(36) + Date.now().toString(36)
function nextRequestId(): string {
  requests++
  return `${started}-${requests.toString(36)}`
}

// Of a proxy in front, for finding a request in both logs; it goes into a log line, so not anything will do.
function givenRequestId(field: string | string[] | undefined): string | undefined {
  return typeof field === 'string' && /^[\w.:/+=-]{1,128}$/.test(field) ? field : undefined
}

function listen(server: Server, at: Address | string, setting: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const refused = (cause: Error) => reject(new Error(`${setting}: ${cause.message}`, { cause }))
    server.once('error', refused)
    server.listen(typeof at === 'string' ? { path: at } : { ...at, backlog: 1024 }, () => {
      server.off('error', refused)
      resolve()
    })
  })
}

function addressText(server: Server): string {
  const { address, port, family } = server.address() as AddressInfo
  return family === 'IPv6' ? `[${address}]:${port}` : `${address}:${port}`
}
