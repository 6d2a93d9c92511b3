import { type Finding, formatValue, type Path } from '../read/fault.ts'
import { isMapping } from '../read/walk.ts'
import { accountRules } from '../rules/module.ts'
import { isLoopback } from '../values/loopback.ts'
import { type Address, formatAddress } from '../values/units.ts'
import type { AgentSettings, PoolSettings } from './schema.ts'

/** The rules of accounts at upstreams, in the ModuleConfig's words; `settings` may be invalid in other ways. */
export const poolRules = (settings: unknown): Finding[] => poolsIn(settings).flatMap(({ pool, path }) => accountRules(pool, path))

const poolsIn = (settings: unknown): { pool: unknown; path: Path }[] => {
  const agent = isMapping(settings) ? settings['agent'] : undefined
  return listIn(agent, 'routes').flatMap((route, at) =>
    listIn(route, 'pools').map((pool, index) => ({ pool, path: ['agent', 'routes', at, 'pools', index] }))
  )
}

const listIn = (value: unknown, key: string): unknown[] => {
  const list = isMapping(value) ? value[key] : undefined
  return Array.isArray(list) ? list : []
}

/** The rules between settings of the effective configuration. */
export const agentChecks = ({ agent }: AgentSettings): Finding[] => {
  const pools = agent.routes.flatMap((route, at) =>
    route.pools.map((pool, index) => ({ pool, path: ['agent', 'routes', at, 'pools', index] as const }))
  )
  return [
    ...openToAll(agent),
    ...(agent.listen.port !== 0 && formatAddress(agent.listen) === formatAddress(agent.admin)
      ? [{ path: ['agent', 'admin'], expected: 'another address than agent.listen', value: formatValue(formatAddress(agent.admin)) }]
      : []),
    ...pools.flatMap(({ pool, path }) => [...oneKind(pool, path), ...replicaChecks(pool, path, agent.listen)])
  ]
}

const openToAll = ({ listen, tls, clients }: AgentSettings['agent']): Finding[] =>
  isLoopback(listen.host) || (tls && clients)
    ? []
    : [
        {
          path: ['agent', 'listen'],
          expected: 'a loopback address, or agent.tls and agent.clients beside it',
          value: formatValue(formatAddress(listen))
        }
      ]

const oneKind = ({ replicas, imagesRepo, license }: PoolSettings, path: Path): Finding[] => [
  ...((replicas === undefined) === (imagesRepo === undefined) ? [{ path, expected: 'either replicas or imagesRepo' }] : []),
  ...(replicas && license !== undefined
    ? [{ path: [...path, 'license'], expected: 'imagesRepo beside it: replicas take username and password' }]
    : [])
]

const replicaChecks = ({ replicas = [] }: PoolSettings, path: Path, listen: Address): Finding[] => {
  const seen = new Set<string>()
  return replicas.flatMap(({ address }, at) => {
    const again = seen.has(address)
    seen.add(address)
    const place = { path: [...path, 'replicas', at, 'address'], value: formatValue(address) }
    if (again) return [{ ...place, expected: 'every replica at most once' }]
    return isOwn(address, listen) ? [{ ...place, expected: 'a registry: this is the agent itself (agent.listen)' }] : []
  })
}

// On another address of this machine only the requests themselves show that they come from here.
const isOwn = (address: string, { host, port }: Address): boolean => {
  const url = new URL(`http://${address}`)
  const name = url.hostname.replace(/^\[|\]$/g, '')
  if (Number(url.port || 80) !== port || port === 0) return false
  const everywhere = host === '0.0.0.0' || host === '::'
  return name === host.toLowerCase() || ((everywhere || isLoopback(host)) && isLoopback(name) && sameLoopback(name, host, everywhere))
}

// 127.0.0.2 is loopback too, and another address.
const sameLoopback = (name: string, host: string, everywhere: boolean): boolean =>
  everywhere || name === 'localhost' || host.toLowerCase() === 'localhost'
