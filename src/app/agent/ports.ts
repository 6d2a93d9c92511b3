import { Clients } from '../../agent/clients.ts'
import { isOwnRequest } from '../../agent/own-request.ts'
import type { RequestAudit } from '../../api/audit.ts'
import { deferContinue, Gateway } from '../../api/gateway.ts'
import { StallDetector } from '../../api/stall-detector.ts'
import { OciError } from '../../oci/errors.ts'
import { listen } from '../../ports/address.ts'
import type { Health } from '../../ports/admin.ts'
import { createPort, type PortLimits } from '../../ports/listen.ts'
import { answerAdmin } from '../../ports/plain/admin.ts'
import { createPlainServer } from '../../ports/plain/server.ts'
import type { Tls } from '../../ports/tls.ts'
import { connectionReports, type OpenedPort, openedPort, seldomWarnings } from '../shared/open-port.ts'
import type { AgentContext } from './context.ts'
import type { OpenedPools } from './pools.ts'

// As a registry has them by default (`limits`).
const minimumRate = { bytes: 1024, perMs: 30_000 }
const maxUploads = 512
const manifestBytes = 8 * 1024 * 1024

// What was changed, and by which user, is in the audit stream of the replica.
const noAudit: RequestAudit = {
  ready: () => undefined,
  recordChanges: async () => {},
  refuse: async () => {},
  challenge: async () => {}
}

const unknownSession = { resumeUpload: () => Promise.reject(new OciError('BLOB_UPLOAD_UNKNOWN')) }

/** Creates the gateway of the agent, and its password of clients. */
export function createAgentGateway(
  { config, metrics, log }: AgentContext,
  pools: Pick<OpenedPools, 'backendFor'>
): { gateway: Gateway; clients: Clients } & Disposable {
  const { agent } = config()
  const stalls = new StallDetector(minimumRate, () => performance.now())
  const clients = new Clients(agent.clients)
  const warn = seldomWarnings(log)
  const gateway = new Gateway({
    backendFor: ns => pools.backendFor(ns),
    identify: async ({ headers }, address, id) => {
      if (isOwnRequest(headers)) throw cameBack(warn)
      try {
        return clients.identify(headers.authorization)
      } catch (error) {
        const sent = headers.authorization === undefined ? 'none' : 'another'
        warn('a client was refused: it did not send the password of agent.clients', { address, sent, request: id })
        throw error
      }
    },
    issueToken: async () => undefined,
    audit: noAudit,
    addressOf: ({ socket }) => socket.remoteAddress ?? 'unknown',
    limits: { manifestBytes, uploads: maxUploads, connections: agent.connections },
    shortage: async () => undefined,
    sessions: unknownSession,
    stalls,
    log,
    metrics
  })
  return { gateway, clients, [Symbol.dispose]: () => stalls.close() }
}

function cameBack(warn: ReturnType<typeof seldomWarnings>): OciError {
  const reason = 'a replica in agent.routes leads back to the agent itself'
  warn(reason, {})
  return new OciError('UNAVAILABLE', { status: 508, detail: { reason } })
}

/** Opens the port that containerd reaches. */
export async function openAgentPort(context: AgentContext, gateway: Gateway, tls: Tls | undefined): Promise<OpenedPort> {
  const server = createPlainServer(
    listener => createPort(listener, tls?.options, limitsOf(context)),
    (...exchange) => void gateway.answer(...exchange)
  )
  deferContinue(server)
  if (tls) tls.attach(server as unknown as Parameters<Tls['attach']>[0])
  await listen(server, context.config().agent.listen, 'agent.listen')
  return openedPort(server)
}

/** Opens the admin port. */
export async function openAgentAdmin(context: AgentContext, health: Omit<Health, 'writable'>): Promise<OpenedPort> {
  const { metrics } = context
  const server = createPlainServer(listener => createPort(listener, undefined, limitsOf(context)), answerAdmin({ health, metrics }))
  await listen(server, context.config().agent.admin, 'agent.admin')
  return openedPort(server)
}

function limitsOf(context: AgentContext): PortLimits {
  const { connections } = context.config().agent
  const { bytes, perMs } = minimumRate
  return {
    maxConnections: connections,
    headTimeoutMs: perMs,
    // After two periods of the detector of stalls, which can tell why the response of a blob is truncated.
    unread: { bytes, perMs: 9 * perMs },
    ...connectionReports(context, () => connections, 'agent.connections')
  }
}
