import { type Finding, formatValue, type Path } from '../read/fault.ts'
import type { Config, Settings, UpstreamConfig } from '../schema.ts'

/** The rules between upstreams and the registry itself. */
export const upstreamChecks = ({ registry }: Settings, config: Config): Finding[] => [
  ...twice(Object.keys(registry.upstreams)),
  ...own(config),
  ...reserved(config),
  ...circles(config)
]

const twice = (hosts: readonly string[]): Finding[] => {
  const seen = new Set<string>()
  return hosts.flatMap(host => {
    const again = seen.has(host.toLowerCase())
    seen.add(host.toLowerCase())
    return again ? [{ path: ['registry', 'upstreams', host], expected: 'every registry at most once, in upper or lower case' }] : []
  })
}

// A request with ns= and a name of this registry means this registry, so such an upstream would never be used.
const own = ({ registry, server }: Config): Finding[] =>
  Object.keys(registry.upstreams)
    .filter(host => names(server).has(host))
    .map(host => ({ path: ['registry', 'upstreams', host], expected: 'another registry than the names in server.names' }))

const reserved = ({ server }: Config): Finding[] =>
  server.path.split('/')[0] === 'upstreams'
    ? [
        {
          path: ['server', 'path'],
          expected: 'a name outside upstreams/, where content of other registries lies',
          value: formatValue(server.path)
        }
      ]
    : []

const circles = ({ registry, server }: Config): Finding[] => {
  const own = names(server)
  const section = registry.mode === 'Direct' ? 'direct' : 'proxy'
  const asked: (readonly [Path, UpstreamConfig | undefined])[] = [
    [['registry', section], registry.upstream],
    ...Object.entries(registry.upstreams).flatMap(([host, each]) =>
      own.has(host) ? [] : [[['registry', 'upstreams', host], each] as const]
    )
  ]
  return asked
    .filter(([, upstream]) => upstream?.endpoints.some(endpoint => own.has(new URL(endpoint).host)))
    .map(([path]) => ({ path, expected: 'an upstream other than this registry, whose names are in server.names' }))
}

const names = ({ names }: Config['server']): ReadonlySet<string> => new Set(names.map(name => name.toLowerCase()))
