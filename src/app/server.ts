import { chmod, lstat, mkdir, rm } from 'node:fs/promises'
import type { Server } from 'node:http'
import { dirname } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { needBackends } from '../../config/difference.ts'
import { configHash } from '../../config/effective.ts'
import type { Config } from '../../config/schema.ts'
import pkg from '../../package.json' with { type: 'json' }
import { deferContinue, Gateway } from '../api/gateway.ts'
import { StallDetector } from '../api/stall-detector.ts'
import { buildBackends } from '../backend/build.ts'
import { LocalSink } from '../backend/local-sink.ts'
import { BackendSwitch } from '../backend/switch.ts'
import { openContent } from '../content/content.ts'
import { Fills } from '../content/fill/fills.ts'
import type { GcEvent } from '../content/gc/collect.ts'
import { operations } from '../operations/operations.ts'
import { type Health, registerAdmin } from '../ports/admin.ts'
import { addressText, createApp, listen } from '../ports/app.ts'
import { type ControlDeps, registerControl } from '../ports/control.ts'
import { clientAddress, verifiedName } from '../ports/forwarded.ts'
import { createPort, drain } from '../ports/listen.ts'
import type { Tls } from '../ports/tls.ts'
import { logFill, observeUpstream } from '../telemetry/cache.ts'
import type { Logger } from '../telemetry/log.ts'
import { createMetrics, type Metrics } from '../telemetry/metrics.ts'
import type { Upstream } from '../upstream/upstream.ts'
import { openCertificates } from './certificates.ts'
import { collectGauges } from './gauges.ts'
import { freeSpaceOf, type GcOptions, GcRunner } from './gc-runner.ts'
import { startLongWork } from './long-work.ts'
import { openStorage } from './open-storage.ts'
import { createRateLimits } from './rate-limits.ts'
import { type LastReload, Reload } from './reload.ts'
import { startUploadExpiry } from './upload-expiry.ts'
import { openAccess } from './users.ts'

/** A running registry. */
export interface Registry {
  /** Where the ports listen, as `<host>:<port>`; a port of 0 was any free one. */
  readonly listen: string
  readonly admin: string
  /** Looks at the configuration and takes over what has changed, all of it or nothing. */
  reload(): Promise<LastReload>
  /** Removes what nothing needs, and tells what that is. */
  collect(options?: GcOptions): AsyncIterable<GcEvent>
  /** After `stop`: a call to the disk hangs, and would keep the process from an orderly end. */
  readonly hanging: boolean
  /** Lets running transfers end for at most `server.drain`, then ends; resolves to whether all of them could. */
  stop(): Promise<boolean>
}

/** How the process reads its configuration anew; without it nothing can be changed but by a restart. */
export type Load = () => Config

// How often files that may change are looked at, in ms; a change is taken when two looks agree.
const watchInterval = 5_000
// How long after a reload the old upstreams may still be asked.
const lastQuestion = 60_000
const controlLimits = { maxConnections: 64, headTimeoutMs: 10_000 }

/** Starts everything that `config` names; on failure nothing is left running. The only place where the parts meet. */
export async function startRegistry(config: Config, log: Logger, load: Load = () => config): Promise<Registry> {
  const stack = new AsyncDisposableStack()
  try {
    return await start(config, log, load, stack)
  } catch (error) {
    await stack.disposeAsync()
    throw error
  }
}

async function start(first: Config, log: Logger, load: Load, stack: AsyncDisposableStack): Promise<Registry> {
  const began = Date.now()
  const metrics = createMetrics()
  metrics.build.set({ version: pkg.version, node: process.version }, 1)
  tellConfig(metrics, first)

  const rates = createRateLimits(first, metrics)
  const store = await openStorage(first, log, rates)
  const { storage } = store
  stack.defer(() => storage.close())
  const damaged = (key: string, reason: string) => {
    metrics.damaged.inc()
    log.error({ key, reason }, 'stored content is damaged')
  }
  const content = openContent(storage, damaged, { metadataTtlMs: first.cache.metadataTTL })
  const fills = new Fills(
    storage,
    content.commit,
    event => logFill(event, metrics, log),
    Date.now,
    bytes => room.ensureCapacity(bytes)
  )
  stack.defer(() => fills.close())
  const parts = { content, fills, observe: observeUpstream(metrics, log), ingress: rates.ingress }

  // What a reload replaces; everything else is as it was at the start.
  let config = first
  let { backends, upstreams } = await buildBackends(config, parts)
  const modes = new BackendSwitch(backends)
  const retired = new Set<Upstream>()
  stack.defer(async () => {
    await fills.close()
    // What a client left behind may take a moment to notice; nobody waits for more than that.
    await Promise.race([closeAll([...upstreams.values(), ...retired]), delay(1_000, undefined, { ref: false })])
  })
  let access = await openAccess(config.auth, watchInterval, metrics, log)
  stack.defer(() => access.close())
  const reload = new Reload(config, {
    load: load,
    log,
    metrics,
    apply: async (next, changed) => {
      const authChanged = changed.some(path => path.startsWith('auth'))
      // What an upstream said of itself, tokens and limits, outlives a change that is none of its business.
      const built = needBackends(changed) ? await buildBackends(next, parts) : { backends, upstreams }
      const nextAccess = authChanged ? await openAccess(next.auth, watchInterval, metrics, log) : access
      // From here on nothing can fail.
      if (built.upstreams !== upstreams) {
        const old = [...upstreams.values()]
        for (const each of old) retired.add(each)
        // Requests that began before may still ask; what runs then goes on to its end.
        const close = () => void closeAll(old).then(() => old.map(each => retired.delete(each)))
        setTimeout(close, lastQuestion).unref()
      }
      ;({ backends, upstreams } = built)
      modes.replace(backends)
      if (authChanged) access.close()
      access = nextAccess
      store.applyLimits(next.storage)
      if (changed.includes('log.level')) log.level = next.log.level
      config = next
      tellConfig(metrics, config)
    }
  })
  const looking = setInterval(() => void reload.check(), watchInterval)
  looking.unref()
  stack.defer(() => clearInterval(looking))

  const tls = first.server.tls && (await openCertificates(first.server.tls, watchInterval, metrics, log))
  if (tls) stack.defer(() => tls.close())
  const { bytes, per } = first.limits.minimumRate
  const stalls = new StallDetector({ bytes, perMs: per })
  stack.defer(() => stalls.close())
  const gateway = new Gateway({
    backendFor: ns => modes.backendFor(ns),
    identify: async (request, address) => {
      const { authorization } = request.headers
      const current = access
      const identity = await current.authenticate({ authorization, certificateName: verifiedName(request.socket), address })
      return {
        ...(identity.user === undefined ? {} : { user: identity.user }),
        require: need => (need === 'base' ? current.authorizeBase(identity) : need !== 'open' && current.authorize(identity, need))
      }
    },
    addressOf: request => clientAddress(request, config.server.forwarders),
    limits: first.limits,
    shortage: bytes => storage.shortage(bytes),
    sessions: new LocalSink(content),
    stalls,
    egress: rates.egress,
    log,
    metrics
  })

  const running = () => gateway.running
  const longWork = await startLongWork({
    config: () => config,
    content,
    storage,
    fills,
    modes,
    upstreams: () => upstreams,
    running,
    collect: options => maintenance.collect(options),
    metrics,
    log
  })
  stack.defer(() => longWork.stop())

  const health: Health = {
    readable: () => storage.check(),
    writable: () => storage.checkWritable(),
    status: async () => ({
      mode: modes.mode,
      version: pkg.version,
      uptimeSeconds: Math.floor((Date.now() - began) / 1000),
      listen: addressText(port),
      storage: { ...store.location, ...(await storage.usage()) },
      requests: { running: gateway.running, uploading: gateway.uploading },
      fills: { running: fills.running },
      scrub: longWork.scrubStatus(),
      upstreams: Object.fromEntries([...upstreams].map(([name, upstream]) => [name, upstream.health()])),
      ...(reload.last ? { reload: reload.last } : {}),
      log: { level: log.level }
    })
  }
  collectGauges(metrics, { storage, gateway, content, fills })
  stack.defer(startUploadExpiry(content, first.limits.uploadIdle, log))
  const busy = () => gateway.running > 0
  const maintenance = new GcRunner({ storage, content, config: () => config, upstreams: () => upstreams, busy, metrics, log })
  stack.defer(() => maintenance.stop())
  await maintenance.start()
  const room = maintenance.createCapacity(await freeSpaceOf(storage))

  const port = await openPort(first, tls, metrics, log, gateway)
  stack.defer(async () => void (await drain(port, 0)))
  const admin = await openAdmin(first, health, metrics)
  stack.defer(async () => void (await drain(admin, 0)))
  const control = await openControl(first, log, { status: health.status, operations, context: longWork.context })
  if (control)
    stack.defer(async () => {
      // Its file is removed in the one thread there is, which a disk that hangs would hold for ever.
      if (!store.stalled()) await drain(control, 0)
      else control.unref()
    })

  const ports = { listen: addressText(port), admin: addressText(admin) }
  log.info({ version: pkg.version, mode: modes.mode, ...ports, tls: tls !== undefined, ...store.location }, 'the registry is ready')
  return {
    ...ports,
    get hanging() {
      return store.hanging()
    },
    reload: () => reload.check(),
    collect: options => maintenance.collect(options),
    stop: async () => {
      log.info({ running: gateway.running, limit: config.server.drain }, 'stopping: running transfers may end')
      void maintenance.stop()
      const clean = await drain(port, config.server.drain)
      await stack.disposeAsync()
      log.info({ clean }, 'the registry has stopped')
      return clean
    }
  }
}

async function closeAll(upstreams: readonly Upstream[]): Promise<void> {
  await Promise.all(upstreams.map(each => each.close()))
}

function tellConfig(metrics: Metrics, config: Config): void {
  metrics.config.reset()
  metrics.config.set({ hash: configHash(config), mode: config.registry.mode }, 1)
}

async function openPort(config: Config, tls: Tls | undefined, metrics: Metrics, log: Logger, gateway: Gateway): Promise<Server> {
  const limits = { maxConnections: config.limits.connections, headTimeoutMs: config.limits.minimumRate.per }
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

async function openAdmin(config: Config, health: Health, metrics: Metrics): Promise<Server> {
  const limits = { maxConnections: config.limits.connections, headTimeoutMs: config.limits.minimumRate.per }
  const app = createApp(listener => createPort(listener, undefined, limits))
  registerAdmin(app, { health, metrics })
  await app.ready()
  await listen(app.server, config.server.admin, 'server.admin')
  return app.server
}

async function openControl(config: Config, log: Logger, answers: Omit<ControlDeps, 'levels' | 'setLevel'>): Promise<Server | undefined> {
  const path = config.server.control
  const app = createApp(listener => createPort(listener, undefined, controlLimits))
  registerControl(app, {
    ...answers,
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
