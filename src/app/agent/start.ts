import { agentConfigDifference, agentLoader, agentNeedsRestart } from '../../../config/agent/load.ts'
import pkg from '../../../package.json' with { type: 'json' }
import type { Logger } from '../../telemetry/log.ts'
import { createMetrics } from '../../telemetry/metrics.ts'
import { type LastReload, Reload } from '../reload.ts'
import { openCertificates } from '../shared/open-port.ts'
import type { AgentContext } from './context.ts'
import { keepLastGood, type LoadedAgent } from './last-good.ts'
import { isAgentMetric } from './metrics.ts'
import { openPools } from './pools.ts'
import { createAgentGateway, openAgentAdmin, openAgentPort } from './ports.ts'

export { loadOrLastGood } from './last-good.ts'

/** A running agent. */
export interface Agent {
  /** The addresses of the ports, as `<host>:<port>`. */
  readonly listen: string
  readonly admin: string
  /** Reads the configuration and takes its changes, all of them or none. */
  reload(): Promise<LastReload>
  /** Lets running transfers end for at most `agent.drain`, then ends; resolves to whether all of them did. */
  stop(): Promise<boolean>
}

/** Starts an agent; on failure nothing is left running. The composition root of `registry agent`. */
export async function startAgent(loaded: LoadedAgent, log: Logger): Promise<Agent> {
  const { file, lastGood, fault } = loaded
  const stack = new AsyncDisposableStack()
  if (fault) log.error({ file, lastGood, reason: fault.message }, 'the configuration cannot be used; the last good one is in force')
  try {
    return await start(loaded, log, stack)
  } catch (error) {
    await stack.disposeAsync()
    throw error
  }
}

// Parts are disposed of in the reverse order.
async function start({ config: first, file, lastGood }: LoadedAgent, log: Logger, stack: AsyncDisposableStack): Promise<Agent> {
  const startedAtMs = performance.now()
  const metrics = createMetrics(isAgentMetric)
  metrics.build.set({ version: pkg.version, node: process.version }, 1)
  let config = first
  const context: AgentContext = { config: () => config, metrics, log }
  const pools = stack.use(openPools(context))
  const { gateway, clients } = stack.use(createAgentGateway(context, pools))
  const reload = stack.use(
    new Reload(first, {
      load: agentLoader(file),
      difference: agentConfigDifference,
      needRestart: agentNeedsRestart,
      apply: async (next, changed) => {
        const commit = pools.prepare(next)
        // From here on nothing can fail.
        commit()
        clients.use(next.agent.clients)
        if (changed.includes('log.level')) log.level = next.log.level
        config = next
        await keepLastGood(lastGood, next, log)
      },
      metrics,
      log
    })
  )
  reload.start()
  const { tls: files } = first.agent
  const tls = files && (await openCertificates(files, context))
  if (tls) stack.defer(() => tls.close())
  metrics.collect('requestsRunning', gauge => gauge.set(gateway.running))
  const port = stack.use(await openAgentPort(context, gateway, tls))
  const status = () => ({
    version: pkg.version,
    uptimeSeconds: Math.floor((performance.now() - startedAtMs) / 1000),
    listen: port.address,
    requests: { running: gateway.running },
    routes: pools.status(),
    ...(reload.last ? { reload: reload.last } : {}),
    log: { level: log.level }
  })
  const admin = stack.use(await openAgentAdmin(context, { readable: pools.checkReady, status: async () => status() }))
  const ports = { listen: port.address, admin: admin.address }
  log.info({ version: pkg.version, ...ports, tls: tls !== undefined, routes: pools.names() }, 'the agent is ready')
  await keepLastGood(lastGood, first, log)
  return {
    ...ports,
    reload: () => reload.check(),
    stop: async () => {
      log.info({ running: gateway.running, limit: config.agent.drain }, 'stopping: running transfers may end')
      const clean = await port.drain(config.agent.drain)
      await stack.disposeAsync()
      log.info({ clean }, 'the agent has stopped')
      return clean
    }
  }
}
