import { configDifference, needRestart } from '../../config/difference.ts'
import { configHash } from '../../config/effective.ts'
import type { Config } from '../../config/schema.ts'
import { configWarnings } from '../../config/warnings.ts'
import pkg from '../../package.json' with { type: 'json' }
import type { GcEvent } from '../content/gc/collect.ts'
import { operations } from '../operations/operations.ts'
import { Audit } from '../telemetry/audit.ts'
import type { Logger } from '../telemetry/log.ts'
import { createMetrics } from '../telemetry/metrics.ts'
import { collectGauges, createHealth } from './admin-state.ts'
import { openBackends } from './backends.ts'
import { startBackground } from './background.ts'
import type { AppContext } from './context.ts'
import type { GcRequest } from './gc-runner.ts'
import { createGateway, openAdminPort, openControlSocket, openRegistryPort, openServerCertificates } from './ports.ts'
import { createRateLimits } from './rate-limits.ts'
import { type LastReload, Reload, type ReloadDeps } from './reload.ts'
import { openStore } from './store.ts'
import { openAccess } from './users.ts'

/** A running registry. */
export interface Registry {
  /** The addresses of the ports, as `<host>:<port>`. */
  readonly listen: string
  readonly admin: string
  /** Reads the configuration and takes its changes, all of them or none. */
  reload(): Promise<LastReload>
  /** Runs a garbage collection and reports what it removes. */
  collect(options?: GcRequest): AsyncIterable<GcEvent>
  /** After `stop`: a disk call hangs and would block an orderly exit. */
  readonly hanging: boolean
  /** Lets running transfers end for at most `server.drain`, then ends; resolves to whether all of them did. */
  stop(): Promise<boolean>
}

/** Reads the configuration again. */
export type Load = () => Config

/** Starts a registry; on failure nothing is left running. The composition root. */
export async function startRegistry(config: Config, log: Logger, load: Load = () => config): Promise<Registry> {
  const stack = new AsyncDisposableStack()
  try {
    return await start(config, log, load, stack)
  } catch (error) {
    await stack.disposeAsync()
    throw error
  }
}

// Parts are disposed of in the reverse order.
async function start(first: Config, log: Logger, load: Load, stack: AsyncDisposableStack): Promise<Registry> {
  const startedAtMs = Date.now()
  const stopping = new AbortController()
  const metrics = createMetrics()
  let config = first
  const audit = stack.use(await Audit.open(first.log.audit, { log, onLost: lines => metrics.auditLost.inc(lines) }))
  const context: AppContext = { config: () => config, stopping: stopping.signal, metrics, log, audit }
  metrics.build.set({ version: pkg.version, node: process.version }, 1)
  showConfig(context, first)

  const rates = createRateLimits(first, metrics)
  const store = stack.use(await openStore(context, rates))
  const backends = stack.use(await openBackends(context, store, rates.ingress))
  const access = stack.use(await openAccess(context))
  const apply = async (next: Config, changed: readonly string[]) => {
    const commits = [await backends.prepare(next, changed), await access.prepare(next, changed)]
    if (changed.includes('log.audit')) commits.push(await audit.prepare(next.log.audit))
    // From here on nothing can fail.
    for (const commit of commits) commit()
    store.opened.applyLimits(next.storage)
    if (changed.includes('log.level')) log.level = next.log.level
    recordMode(audit, config.registry.mode, next.registry.mode)
    config = next
    showConfig(context, next)
  }
  const reload = stack.use(createReload(first, { load, apply, metrics, log, audit }))
  reload.start()

  const { tls, adminTls } = await openAllCertificates(first, context, stack)
  const { gateway } = stack.use(createGateway(context, { store, modes: backends.modes, access, egress: rates.egress }))
  const background = stack.use(await startBackground(context, store, backends, () => gateway.running))
  // A start that fails after this disposes of its parts too: what runs in the background ends at once.
  stack.defer(() => stopping.abort(new Error('the registry stops')))
  collectGauges(metrics, store, gateway)
  const port = stack.use(await openRegistryPort(context, gateway, tls))
  const deps = { startedAtMs, listen: port.address, store, backends, gateway, background, lastReload: () => reload.last }
  const health = createHealth(context, deps)
  const admin = stack.use(await openAdminPort(context, health, access, adminTls))
  stack.use(
    await openControlSocket(context, { status: health.status, operations, context: background.operationContext }, store.opened.stalled)
  )

  const ports = { listen: port.address, admin: admin.address }
  const { location } = store.opened
  const about = { version: pkg.version, mode: backends.modes.mode }
  log.info({ ...about, ...ports, tls: tls !== undefined, ...location }, 'the registry is ready')
  await audit.start(about)
  return {
    ...ports,
    get hanging() {
      return store.opened.hanging() || audit.stalled
    },
    reload: () => reload.check(),
    collect: options => background.collect(options),
    stop: async () => {
      log.info({ running: gateway.running, limit: config.server.drain }, 'stopping: running transfers may end')
      stopping.abort(new Error('the registry stops'))
      void background.stopGc()
      const clean = await port.drain(config.server.drain)
      await stack.disposeAsync()
      log.info({ clean }, 'the registry has stopped')
      return clean
    }
  }
}

function createReload(
  first: Config,
  { audit, ...deps }: Pick<ReloadDeps<Config>, 'load' | 'apply' | 'metrics' | 'log'> & { audit: Audit }
): Reload<Config> {
  return new Reload(first, {
    ...deps,
    difference: configDifference,
    needRestart,
    onCheck: () => audit.reopen(),
    onResult: ({ result, changed, reason }) => audit.record({ action: 'reload', actor: 'local', result, changed, reason })
  })
}

function recordMode(audit: Audit, old: string, next: string): void {
  if (old !== next) void audit.record({ action: 'mode', actor: 'local', old, new: next })
}

async function openAllCertificates({ server }: Config, context: AppContext, stack: AsyncDisposableStack) {
  const tls = server.tls && (await openServerCertificates(server.tls, context, 'registry'))
  if (tls) stack.defer(() => tls.close())
  const adminTls = server.adminTLS && (await openServerCertificates(server.adminTLS, context, 'admin'))
  if (adminTls) stack.defer(() => adminTls.close())
  return { tls, adminTls }
}

function showConfig({ metrics, log }: Pick<AppContext, 'metrics' | 'log'>, config: Config): void {
  for (const warning of configWarnings(config)) log.warn(warning)
  metrics.config.reset()
  metrics.config.set({ hash: configHash(config), mode: config.registry.mode }, 1)
}
