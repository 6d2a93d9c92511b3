import { chmod, lstat, mkdir, rm } from 'node:fs/promises'
import type { IncomingMessage, Server } from 'node:http'
import { dirname } from 'node:path'
import { grantsMetrics } from '../../config/rules/metrics.ts'
import type { Config } from '../../config/schema.ts'
import type { Access, Identity, Presented } from '../access/access.ts'
import { parseBasic } from '../access/basic.ts'
import { AuthenticatedCaller } from '../access/caller.ts'
import { addressKey } from '../access/login-throttle.ts'
import type { IssuedToken } from '../access/tokens/issuer.ts'
import { recordRefusal } from '../api/audit.ts'
import type { Caller } from '../api/exchange.ts'
import { Gateway } from '../api/gateway.ts'
import { StallDetector } from '../api/stall-detector.ts'
import type { WantedToken } from '../api/tokens/token.ts'
import type { BackendSwitch } from '../backend/switch.ts'
import { OciError } from '../oci/errors.ts'
import { listen } from '../ports/address.ts'
import { type Health, registerAdmin } from '../ports/admin.ts'
import { createApp } from '../ports/app.ts'
import { type ControlDeps, registerControl } from '../ports/control.ts'
import { clientAddress, forwardedAddress, isForwarder, isLoopback, verifiedName } from '../ports/forwarded.ts'
import { createPort, drain, type PortLimits } from '../ports/listen.ts'
import type { Tls, TlsFiles } from '../ports/tls.ts'
import type { Audit } from '../telemetry/audit.ts'
import type { AppContext } from './context.ts'
import type { RateLimits } from './rate-limits.ts'
import { openApiPort } from './shared/open-api-port.ts'
import { connectionReports, type OpenedPort, openCertificates, openedPort } from './shared/open-port.ts'
import type { Store } from './store.ts'
import type { OpenedAccess } from './users.ts'

const controlLimits = { maxConnections: 64, headTimeoutMs: 10_000 }

/** Reads the TLS files of a port, and again whenever they change. The metrics name those of the admin port apart. */
export function openServerCertificates(files: TlsFiles, context: AppContext, port: 'registry' | 'admin'): Promise<Tls> {
  const { audit } = context
  return openCertificates(files, context, {
    ...(port === 'admin' ? { kindOf: kind => (kind === 'server' ? 'admin' : `admin_${kind}`) } : {}),
    reload: () => void audit.record({ action: 'reload', actor: 'local', result: 'applied', file: files.certificate }),
    refused: refused => void audit.refuse('certificate', { actor: 'anonymous', ...refused })
  })
}

/** The parts that the gateway uses. */
export interface GatewayDeps {
  store: { storage: Pick<Store['storage'], 'shortage'>; sink: Pick<Store['sink'], 'resumeUpload'> }
  modes: Pick<BackendSwitch, 'backendFor'> & Partial<Pick<BackendSwitch, 'storedFor'>>
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
    storedFor: ns => (modes.storedFor ? modes.storedFor(ns) : modes.backendFor(ns)),
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
async function identify(access: Access, audit: Audit, request: IncomingMessage, from: Sender): Promise<Caller> {
  const { headers, socket } = request
  const secure = 'encrypted' in socket
  return new AuthenticatedCaller(access, await authenticate(access, audit, request, { ...from, host: headers.host, secure }))
}

async function authenticate(
  access: Access,
  audit: Audit,
  { headers: { authorization }, socket }: IncomingMessage,
  from: Sender & Pick<Presented, 'host' | 'secure'>
): Promise<Identity> {
  const { address, host, secure } = from
  const presented = { authorization, certificateName: verifiedName(socket), address, host, secure }
  const identity = await access.authenticate(presented).catch(error => refuseLogin(error, audit, authorization, from))
  const logged = identity.user === undefined ? undefined : audit.login(identity.user, from.address, from.id)
  if (logged) await logged
  return identity
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
export function openRegistryPort(context: AppContext, gateway: Gateway, tls: Tls | undefined): Promise<OpenedPort> {
  const { config } = context
  const forwarding = {
    speaksFor: (request: IncomingMessage) =>
      isLoopback(request.socket) || isForwarder(request, config().server.forwarders) ? forwardedAddress(request) : undefined
  }
  return openApiPort(gateway, tls, {
    at: config().server.listen,
    setting: 'server.listen',
    limits: { ...portLimits(config()), ...forwarding, ...reportsOf(context) },
    believesRequestId: request => isForwarder(request, config().server.forwarders)
  })
}

function reportsOf(context: AppContext): Pick<PortLimits, 'onClosed' | 'onRefused'> {
  return connectionReports(context, () => context.config().limits.connections, 'limits.connections')
}

/** Opens the admin port. The access rights decide whether metrics and status are for those who may read them alone. */
export async function openAdminPort(
  context: AppContext,
  health: Health,
  access: Pick<OpenedAccess, 'current'>,
  tls: Tls | undefined
): Promise<OpenedPort> {
  const { config, metrics, audit } = context
  const limits = { ...portLimits(config()), ...reportsOf(context) }
  const app = createApp(listener => createPort(listener, tls?.options, limits))
  const authorize = async (request: IncomingMessage, id: string) => {
    if (grantsMetrics(config().auth)) await authorizeMetrics(access.current(), audit, request, id)
  }
  registerAdmin(app, { health, metrics, authorize })
  if (tls) tls.attach(app.server as unknown as Parameters<Tls['attach']>[0])
  await app.ready()
  await listen(app.server, config().server.admin, 'server.admin')
  return openedPort(app.server)
}

async function authorizeMetrics(access: Access, audit: Audit, request: IncomingMessage, id: string): Promise<void> {
  const address = request.socket.remoteAddress ?? 'unknown'
  // Without a host, so that no challenge leads to a token: this port issues none.
  const identity = await authenticate(access, audit, request, { address, id })
  try {
    access.authorizeMetrics(identity)
  } catch (error) {
    await recordRefusal(audit, error, { record: { user: identity.user, address }, id, permission: 'metrics' })
    throw error
  }
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
