import { hostname } from 'node:os'
import type { Address } from '../../../config/values/units.ts'
import { Checker } from '../../controller/checker/checker.ts'
import { openProbe, type ProbeProxy } from '../../controller/checker/upstream-probe.ts'
import { ClusterController } from '../../controller/cluster/cluster-controller.ts'
import { Watches } from '../../controller/cluster/watches.ts'
import { names } from '../../controller/objects/names.ts'
import { KubernetesClient } from '../../kubernetes/client.ts'
import { Election } from '../../kubernetes/election.ts'
import type { ClusterAccess } from '../../kubernetes/kubeconfig.ts'
import { listen } from '../../ports/address.ts'
import { createPort } from '../../ports/listen.ts'
import { answerAdmin } from '../../ports/plain/admin.ts'
import { createPlainServer } from '../../ports/plain/server.ts'
import type { Logger } from '../../telemetry/log.ts'
import { createMetrics, type Metrics } from '../../telemetry/metrics.ts'
import type { LastReload } from '../reload.ts'
import { type OpenedPort, openedPort } from '../shared/open-port.ts'
import { type ControllerWatch, isControllerMetric, observeController } from './metrics.ts'

/** How a controller runs. */
export interface ControllerOptions {
  access: ClusterAccess
  /** The image of this program, for the in-cluster proxy. */
  image: string
  /** Where probes and Prometheus find it. */
  admin: Address
  /** Whether the nodes of the cluster are static. */
  static: boolean
  /** How upstreams are reached from here. */
  proxy?: ProbeProxy
}

/** A controller that runs. */
export interface RunningController {
  /** Of the admin port: `<host>:<port>`. */
  readonly address: string
  /** Looks at the cluster at once: there is no configuration to read again. */
  reload(): Promise<LastReload>
  /** Gives the lease back, and ends. Nothing is cut off. */
  stop(): Promise<boolean>
}

const headTimeoutMs = 10_000
const maxConnections = 64

/** Starts a controller: it follows the cluster at once, and writes while it is the leader. */
export async function startController(options: ControllerOptions, log: Logger): Promise<RunningController> {
  const metrics = createMetrics(isControllerMetric)
  const watch = observeController(metrics)
  const client = new KubernetesClient(options.access, { answered: watch.answered })
  let poke = () => {}
  const watches = new Watches(client, () => poke())
  const election = electionOf(client, { log, watch, changed: () => poke() })
  const checker = new Checker({
    open: async (registry, stored) => openProbe(registry, { proxy: options.proxy, stored }),
    now: Date.now,
    changed: () => poke()
  })
  const controller = new ClusterController({
    client,
    watches,
    checker,
    leads: () => election.leads,
    image: options.image,
    static: options.static,
    now: Date.now,
    events: {
      looked: watch.looked,
      wrote: what => log.info({ object: what }, 'written'),
      failed: error => {
        watch.failed(error)
        log.error({ reason: error.message }, 'the cluster could not be brought to what is wanted')
      }
    }
  })
  poke = () => controller.poke()
  const port = await openAdmin(options.admin, { watches, metrics, status: () => ({ leads: election.leads, ...watch.status() }) })
  const stop = new AbortController()
  const running = Promise.all([watches.run(stop.signal), election.run(stop.signal), controller.run(stop.signal)])
  return {
    address: port.address,
    reload: async () => {
      controller.poke()
      return { at: new Date().toISOString(), result: 'unchanged' }
    },
    stop: async () => {
      stop.abort()
      await running
      await checker.close()
      await port[Symbol.asyncDispose]()
      await client.close()
      return true
    }
  }
}

function electionOf(
  client: KubernetesClient,
  { log, watch, changed }: { log: Logger; watch: ControllerWatch; changed: () => void }
): Election {
  const identity = `${hostname()}_${crypto.randomUUID()}`
  return new Election(client, {
    namespace: names.namespace,
    name: 'registry-controller',
    identity,
    changed: (state, error) => {
      if (error) log.warn({ reason: (error as Error).message }, 'the lease registry-controller could not be renewed')
      else log.info({ identity }, state === 'leads' ? 'this controller leads' : 'another controller leads')
      watch.leads(state === 'leads')
      changed()
    }
  })
}

async function openAdmin(
  at: Address,
  { watches, metrics, status }: { watches: Watches; metrics: Metrics; status: () => Record<string, unknown> }
): Promise<OpenedPort> {
  const limits = { maxConnections, headTimeoutMs, unread: { bytes: 1, perMs: headTimeoutMs } }
  const readable = async () => {
    if (watches.fault) throw watches.fault
    if (!watches.isSynced) throw new Error('the objects of the cluster are being read')
  }
  const health = { readable, status: async () => status() }
  const server = createPlainServer(listener => createPort(listener, undefined, limits), answerAdmin({ health, metrics }))
  await listen(server, at, '--admin')
  return openedPort(server)
}
