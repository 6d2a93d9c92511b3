import { chmod, lstat, mkdir, rm } from 'node:fs/promises'
import type { IncomingMessage, Server } from 'node:http'
import { dirname } from 'node:path'
import type { Config } from '../../config/schema.ts'
import type { Access } from '../access/access.ts'
import { parseBasic } from '../access/basic.ts'
import { AuthenticatedCaller } from '../access/caller.ts'
import { addressKey } from '../access/login-throttle.ts'
import type { IssuedToken } from '../access/tokens/issuer.ts'
import type { Caller } from '../api/exchange.ts'
import { deferContinue, Gateway } from '../api/gateway.ts'
import { StallDetector } from '../api/stall-detector.ts'
import type { WantedToken } from '../api/tokens/token.ts'
import type { BackendSwitch } from '../backend/switch.ts'
import { OciError } from '../oci/errors.ts'
import { type Health, registerAdmin } from '../ports/admin.ts'
import { addressText, createApp, listen } from '../ports/app.ts'
import { type ControlDeps, registerControl } from '../ports/control.ts'
import { clientAddress, forwardedAddress, isForwarder, isLoopback, verifiedName } from '../ports/forwarded.ts'
import { createPort, drain, type PortLimits } from '../ports/listen.ts'
import { openTls, type Tls, type TlsFiles } from '../ports/tls.ts'
import type { Audit } from '../telemetry/audit.ts'
import { type AppContext, watchIntervalMs } from './context.ts'
import type { RateLimits } from './rate-limits.ts'
import type { Store } from './store.ts'
import type { OpenedAccess } from './users.ts'

/** A port that listens. */
export interface OpenedPort extends AsyncDisposable {
  /** `<host>:<port>` */
  readonly address: string
  /** Lets running requests end for at most so many ms; resolves to whether all of them did. */
  drain(limitMs: number): Promise<boolean>
}

const controlLimits = { maxConnections: 64, headTimeoutMs: 10_000 }

/** Reads the TLS files of the registry port, and again whenever they change. */
export async function openCertificates(files: TlsFiles, { metrics, log, audit }: AppContext): Promise<Tls> {
  const publish = (expiry: Tls['expiry']) => {
    for (const [kind, date] of Object.entries(expiry)) metrics.certificateExpiry.set({ kind }, date.getTime() / 1000)
  }
  const tls = await openTls({
    files,
    intervalMs: watchIntervalMs,
    now: Date.now,
    onReload: expiry => {
      publish(expiry)
      log.info({ expiry }, 'certificates were reloaded')
      void audit.record({ action: 'reload', actor: 'local', result: 'applied', file: files.certificate })
    },
    onFault: fault => {
      metrics.reloadFaults.inc({ kind: 'certificates' })
      log.error({ err: fault, files }, 'certificates cannot be used or are outside their validity')
    },
    onRefused: refused => {
      log.warn(refused, 'a client certificate did not verify; its connection is closed')
      void audit.refuse('certificate', { actor: 'anonymous', ...refused })
    }
  })
  publish(tls.expiry)
  return tls
}

/** The parts that the gateway uses. */
export interface GatewayDeps {
  store: Pick<Store, 'storage' | 'sink'>
  modes: BackendSwitch
  access: Pick<OpenedAccess, 'current'>
  egress: RateLimits['egress']
}

/** Creates the gateway of the registry port, and its detector of stalled clients. */
export function createGateway(
  { config, metrics, log, audit }: AppContext,
  { store: { storage, sink }, modes, access, egress }: GatewayDeps
): { gateway: Gateway } & Disposable {
  const { limits } = config()
  const stalls = new StallDetector({ bytes: limits.minimumRate.bytes, perMs: limits.minimumRate.per })
  const gateway = new Gateway({
    backendFor: ns => modes.backendFor(ns),
    identify: (request, address, id) => identify(access.current(), audit, request, { address, id }),
    issueToken: (wanted, address, id) => issueToken(access.current(), audit, wanted, { address, id }),
    audit,
    addressOf: request => clientAddress(request, config().server.forwarders),
    limits,
    shortage: bytes => storage.shortage(bytes),
    sessions: sink,
    stalls,
    egress,
    log,
    metrics
  })
  return { gateway, [Symbol.dispose]: () => stalls.close() }
}

// A request keeps the access rights that were in force when it arrived.
async function identify(access: Access, audit: Audit, { headers, socket }: IncomingMessage, from: Sender): Promise<Caller> {
  const { authorization, host } = headers
  const presented = { authorization, certificateName: verifiedName(socket), address: from.address, host, secure: 'encrypted' in socket }
  const identity = await access.authenticate(presented).catch(error => refuseLogin(error, audit, authorization, from))
  const logged = identity.user === undefined ? undefined : audit.login(identity.user, from.address, from.id)
  if (logged) await logged
  return new AuthenticatedCaller(access, identity)
}

async function issueToken(
  access: Access,
  audit: Audit,
  { authorization, ...wanted }: WantedToken,
  from: Sender
): Promise<IssuedToken | undefined> {
  const { address, id } = from
  const issuing = access.issueToken({ authorization, address }, wanted)
  const issued = await issuing?.catch(error => {
    if (authorization === undefined) throw error
    return refuseLogin(error, audit, authorization, from)
  })
  if (issued?.user !== undefined) await audit.login(issued.user, address, id)
  return issued
}

interface Sender {
  address: string
  /** Of the request. */
  id: string
}

// The user as the client claims it: its name is not verified.
async function refuseLogin(error: unknown, audit: Audit, authorization: string | undefined, { address, id }: Sender): Promise<never> {
  if (error instanceof OciError) {
    const presented = parseBasic(authorization ?? '')
    const claimed = typeof presented === 'object' ? presented.user.slice(0, maxClaimedLength) : 'unknown'
    // Refused for their number, they are one kind, so that made-up names are not many.
    const kind = error.code === 'TOOMANYREQUESTS' ? 'too many passwords' : `wrong credentials of ${claimed}`
    await audit.refuse(kind, { actor: 'anonymous', claimed, reason: error.code, address, request: id })
  }
  throw error
}

const maxClaimedLength = 128

/** Opens the registry port. */
export async function openRegistryPort(context: AppContext, gateway: Gateway, tls: Tls | undefined): Promise<OpenedPort> {
  const { config } = context
  const { server: settings } = config()
  const forwarding = {
    speaksFor: (request: IncomingMessage) =>
      isLoopback(request.socket) || isForwarder(request, config().server.forwarders) ? forwardedAddress(request) : undefined
  }
  const reports = connectionReports(context)
  const app = createApp(listener => createPort(listener, tls?.options, { ...portLimits(config()), ...forwarding, ...reports }), {
    frameworkErrors: (_error, request, reply) => void gateway.handle(request, reply),
    believesRequestId: request => isForwarder(request, config().server.forwarders)
  })
  const server = app.server
  gateway.register(app)
  deferContinue(server)
  if (tls) tls.attach(server as unknown as Parameters<Tls['attach']>[0])
  await app.ready()
  await listen(server, settings.listen, 'server.listen')
  return opened(server)
}

const closedBecause = {
  idle: 'an idle connection was closed for a new one: limits.connections is reached',
  unread: 'a connection was closed: its client does not read the response',
  pipelined: 'a connection was closed: it pipelined too many requests'
}

// Many connections may be closed in a second: the log tells of one of them, the metrics of all.
const reportAgainMs = 1_000

function connectionReports({ config, metrics, log }: AppContext): Pick<PortLimits, 'onClosed' | 'onRefused'> {
  const reportedAtMs = new Map<string, number>()
  const report = (address: string, message: string) => {
    const now = performance.now()
    if (now - (reportedAtMs.get(message) ?? Number.NEGATIVE_INFINITY) < reportAgainMs) return
    reportedAtMs.set(message, now)
    log.warn({ address, limit: config().limits.connections }, message)
  }
  return {
    onClosed(address, reason) {
      metrics.connectionsClosed.inc({ reason })
      report(address, closedBecause[reason])
    },
    onRefused(address) {
      metrics.connectionsDropped.inc()
      report(address, 'a connection was refused: limits.connections is reached')
    }
  }
}

/** Opens the admin port. */
export async function openAdminPort(context: AppContext, health: Health): Promise<OpenedPort> {
  const { config, metrics } = context
  const limits = { ...portLimits(config()), ...connectionReports(context) }
  const app = createApp(listener => createPort(listener, undefined, limits))
  registerAdmin(app, { health, metrics })
  await app.ready()
  await listen(app.server, config().server.admin, 'server.admin')
  return opened(app.server)
}

/** Opens the control socket. If that fails, commands cannot reach this process, and all else works. */
export async function openControlSocket(
  { config, log, audit }: AppContext,
  deps: Omit<ControlDeps, 'levels' | 'setLevel' | 'record'>,
  storageStalled: () => boolean
): Promise<AsyncDisposable | undefined> {
  const path = config().server.control
  const app = createApp(listener => createPort(listener, undefined, controlLimits))
  registerControl(app, {
    ...deps,
    record: entry => audit.record(entry),
    levels: [...Object.keys(log.levels.values), 'silent'],
    setLevel: level => {
      log.level = level
    }
  })
  await app.ready()
  try {
    await listenOnSocket(app.server, path)
  } catch (error) {
    log.warn({ err: error, path }, 'the control socket cannot be opened: commands will not reach this process')
    return undefined
  }
  return {
    [Symbol.asyncDispose]: async () => {
      // Closing removes its file synchronously, which would block for ever on a disk that hangs.
      if (storageStalled()) app.server.unref()
      else await drain(app.server, 0)
    }
  }
}

async function listenOnSocket(server: Server, path: string): Promise<void> {
  await mkdir(dirname(path), { recursive: true, mode: 0o700 })
  // This process owns the root, so an existing socket was left by a process that ended. Any other file is not ours.
  if ((await lstat(path).catch(() => undefined))?.isSocket()) await rm(path)
  // Binding makes the file within this call: until the chmod another user could open it. Files and directories that
  // other threads make meanwhile keep what their owner needs.
  const before = process.umask(0o077)
  const listening = listen(server, path, 'server.control')
  process.umask(before)
  await listening
  await chmod(path, 0o600)
}

function opened(server: Server): OpenedPort {
  return {
    address: addressText(server),
    drain: limitMs => drain(server, limitMs),
    [Symbol.asyncDispose]: async () => void (await drain(server, 0))
  }
}

function portLimits({ limits }: Config): PortLimits {
  const { bytes, per } = limits.minimumRate
  return {
    maxConnections: limits.connections,
    headTimeoutMs: per,
    // After two periods of the detector of stalls, which can tell why the response of a blob is truncated.
    unread: { bytes, perMs: 9 * per },
    keyOf: addressKey
  }
}
