import { setTimeout as delay } from 'node:timers/promises'
import type { AgentConfig } from '../../../config/agent/load.ts'
import { type PoolConfig, poolIn } from '../../../config/agent/pools.ts'
import { HeadTimes } from '../../agent/head-times.ts'
import { ownRequest } from '../../agent/own-request.ts'
import { PoolSink, pinnedSessions } from '../../agent/pool-sink.ts'
import { type PoolSource, PoolsBackend } from '../../agent/pools-backend.ts'
import { ReplicaOrder } from '../../agent/replica-order.ts'
import type { Backend } from '../../backend/backend.ts'
import { DirectBackend } from '../../backend/direct.ts'
import { identityRoute, ownRoute } from '../../backend/routes.ts'
import { observeUpstream } from '../../telemetry/cache.ts'
import { type EndpointHealth, Upstream, type UpstreamEvent, type UpstreamOptions } from '../../upstream/upstream.ts'
import type { CommitReload } from '../context.ts'
import type { AgentContext } from './context.ts'

/** The routes in force, and the pools behind them. */
export interface OpenedPools extends AsyncDisposable {
  /** The backend for `ns=`, without one that of the first route; undefined if no route has the name. */
  backendFor(ns: string | undefined): Backend | undefined
  /** The first name of each route. */
  names(): string[]
  /** The health of each route's pools, by the first of its names. */
  status(): Record<string, { pool: string; replicas: EndpointHealth[] }[]>
  /** Resolves if in every route a registry is healthy; rejects with the name of one where none is. */
  checkReady(): Promise<void>
  /** Makes the routes of another configuration. Pools that stay the same keep their connections and their health. */
  prepare(next: AgentConfig): CommitReload
}

interface Pool {
  readonly config: PoolConfig
  readonly upstream: Upstream
}

interface Routes {
  readonly pools: ReadonlyMap<string, Pool>
  readonly byName: ReadonlyMap<string, Backend>
  readonly first: Backend
  readonly ofRoute: ReadonlyMap<string, readonly Pool[]>
}

// A replica is near, and another one has the same.
const replicaLimits = { connections: 64, connectTimeout: 1_000, headerTimeout: 60_000, bodyTimeout: 60_000 }
// As a registry has them by default (`upstream`).
const upstreamLimits = { connections: 64, connectTimeout: 5_000, headerTimeout: 20_000, bodyTimeout: 60_000 }
// With the probe, half a second less than what a pull may stall.
const silenceMs = 600
const probeMs = 700
const probeIntervalMs = 1_000
const quietMs = 15_000
const manifestBytes = 8 * 1024 * 1024
// How long running requests may use the old pools after a reload, and how long closing waits for them.
const retireAfterMs = 60_000
const closeTimeoutMs = 1_000

/** Makes the routes of the configuration. No connection is opened yet. */
export function openPools({ config, metrics, log }: AgentContext): OpenedPools {
  const sessions = pinnedSessions()
  const observe = observeUpstream(metrics, log)
  const make = (next: AgentConfig, known: ReadonlyMap<string, Pool>) => routesOf(next, known, { sessions, observe })
  let current = make(config(), new Map())
  const retired = new Set<Upstream>()
  const probe = () => {
    for (const { config: pool, upstream } of current.pools.values()) if (pool.kind === 'replicas') void upstream.probe(quietMs)
  }
  metrics.collect('replicaHealthy', gauge => {
    gauge.reset()
    const all = [...current.pools.values()].flatMap(each => each.upstream.health())
    for (const { url, healthy } of all) gauge.set({ endpoint: new URL(url).host }, healthy ? 1 : 0)
  })
  const timer = setInterval(probe, probeIntervalMs).unref()
  const retire = (upstream: Upstream) => {
    retired.add(upstream)
    setTimeout(() => void upstream.close().then(() => retired.delete(upstream)), retireAfterMs).unref()
  }
  return {
    backendFor: ns => (ns === undefined ? current.first : current.byName.get(ns.toLowerCase())),
    names: () => [...current.ofRoute.keys()],
    status: () =>
      Object.fromEntries(
        [...current.ofRoute].map(([name, pools]) => [
          name,
          pools.map(({ config: pool, upstream }) => ({ pool: textOf(pool), replicas: upstream.health() }))
        ])
      ),
    checkReady: async () => {
      for (const [name, pools] of current.ofRoute) {
        if (!pools.some(isHealthy)) throw new Error(`no registry of the route for ${name} answers`)
      }
    },
    prepare: next => {
      const made = make(next, current.pools)
      return () => {
        const old = current
        current = made
        for (const [key, { upstream }] of old.pools) if (!made.pools.has(key)) retire(upstream)
      }
    },
    [Symbol.asyncDispose]: async () => {
      clearInterval(timer)
      const all = [...[...current.pools.values()].map(each => each.upstream), ...retired]
      await Promise.race([Promise.all(all.map(each => each.close())), delay(closeTimeoutMs, undefined, { ref: false })])
    }
  }
}

interface RouteDeps {
  sessions: ReturnType<typeof pinnedSessions>
  observe: (event: UpstreamEvent) => void
}

function routesOf({ agent, proxy }: AgentConfig, known: ReadonlyMap<string, Pool>, { sessions, observe }: RouteDeps): Routes {
  const pools = new Map<string, Pool>()
  const byName = new Map<string, Backend>()
  const ofRoute = new Map<string, readonly Pool[]>()
  let first: Backend | undefined
  for (const { names, pools: settings } of agent.routes) {
    const own = settings.map(each => {
      const config = poolIn(each)
      const key = JSON.stringify([config, config.kind === 'imagesRepo' ? proxy : undefined])
      const pool = pools.get(key) ?? known.get(key) ?? { config, upstream: upstreamOf(config, proxy, observe) }
      pools.set(key, pool)
      return pool
    })
    const backend = (ns: string | undefined) => {
      const sources = own.map(pool => sourceOf(pool, agent.path, ns))
      const pushed = own.find(pool => pool.config.kind === 'replicas')
      return new PoolsBackend(sources, pushed && new PoolSink(forNamespace(pushed.upstream, ns).sink, sessions))
    }
    first ??= backend(undefined)
    const fresh = names.map(name => name.toLowerCase()).filter(name => !byName.has(name))
    for (const name of fresh) byName.set(name, backend(name))
    if (fresh[0] !== undefined) ofRoute.set(fresh[0], own)
  }
  if (!first) throw new Error('the agent has no route')
  return { pools, byName, first, ofRoute }
}

function sourceOf(pool: Pool, path: string, ns: string | undefined): PoolSource {
  const { config, upstream } = pool
  const route = config.kind === 'replicas' ? identityRoute(config.host, forNamespace(upstream, ns)) : ownRoute(path, config, upstream)
  return { source: new DirectBackend(route), isHealthy: () => isHealthy(pool) }
}

function forNamespace(upstream: Upstream, ns: string | undefined): Upstream {
  return ns === undefined ? upstream : upstream.forNamespace(ns)
}

function isHealthy({ upstream }: Pool): boolean {
  return upstream.health().some(each => each.healthy)
}

function textOf({ kind, host, path, endpoints }: PoolConfig): string {
  return kind === 'replicas' ? endpoints.map(each => new URL(each).host).join(', ') : `${host}/${path}`
}

function upstreamOf(pool: PoolConfig, proxy: AgentConfig['proxy'], observe: (event: UpstreamEvent) => void): Upstream {
  const { kind, endpoints, credentials, ca, tokenHosts, redirectHosts } = pool
  const options: UpstreamOptions = {
    endpoints: endpoints.map(each => new URL(each)),
    tokenHosts,
    redirectHosts,
    revalidate: 'get',
    manifestBytes,
    limits: kind === 'replicas' ? replicaLimits : upstreamLimits,
    ...(credentials ? { credentials } : {}),
    ...(ca === undefined ? {} : { ca })
  }
  // Times are compared with each other only, so that a clock that jumps makes nothing old.
  const now = () => performance.timeOrigin + performance.now()
  if (kind === 'imagesRepo') return new Upstream({ ...options, proxy }, { observe, now })
  const heads = new HeadTimes()
  const order = new ReplicaOrder(pool.local)
  return new Upstream(
    { ...options, headers: ownRequest, ...(ca === undefined ? {} : { roots: 'own' }) },
    {
      now,
      observe: event => {
        if (event.type === 'answer' && (event.method === 'GET' || event.method === 'HEAD')) heads.add(event.ms)
        observe(event)
      },
      replicas: {
        order: (replicas, path) => order.of(replicas, path),
        hedgeAfterMs: () => heads.hedgeAfterMs,
        onWrong: (replicas, path) => order.distrust(replicas, path),
        silenceMs,
        probeMs
      }
    }
  )
}
