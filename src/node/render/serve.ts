import { stringify } from 'yaml'
import type { Wanted } from '../../../config/node/wanted.ts'
import { formatAddress } from '../../../config/values/units.ts'
import { addresses, type NodeFile, places, podFile } from '../layout.ts'
import { upstreamFiles } from './upstream.ts'

const note = '# Written by registry node: the next apply overwrites changes.\n'

const everything = ['pull', 'push', 'delete']

// Those of the original. Its puller and pusher are what replicas of Local copy by.
const roles: ReadonlyMap<string, readonly string[]> = new Map([
  ['rw', everything],
  ['mirror-pusher', everything]
])

/** The configuration of the replica on a control-plane node, and the secrets that it names. `data` is its root. */
export function renderServe(wanted: Wanted, data: string): NodeFile[] {
  const { mode, node, users } = wanted
  const section = mode === 'Direct' ? 'direct' : mode === 'Proxy' ? 'proxy' : undefined
  const settings = section && wanted[section]
  const upstream = settings && upstreamFiles(settings, places.registry)
  const configuration = {
    registry: { mode, ...(section && upstream ? { [section]: upstream.settings } : {}) },
    server: {
      listen: formatAddress({ host: node.address, port: addresses.registryPort }),
      tls: { certificate: `/${places.registryPki}/distribution.crt`, key: `/${places.registryPki}/distribution.key` },
      admin: addresses.registryAdmin
    },
    storage: { filesystem: { root: `/${data}` } },
    auth: {
      users: {
        file: `/${places.registry}/htpasswd`,
        roles: Object.fromEntries(Object.keys(users).map(name => [name, roles.get(name) ?? ['pull']]))
      }
    }
  }
  const text = note + stringify(configuration, { lineWidth: 0 })
  return [...(upstream?.files ?? []), podFile(`${places.registry}/serve.yaml`, 'configuration', text)]
}

/** The users of the replica. `hashes` has the bcrypt string of each. */
export function renderHtpasswd({ users }: Wanted, hashes: ReadonlyMap<string, string>): NodeFile {
  const lines = Object.entries(users).flatMap(([name, { previousHash }]) =>
    [hashes.get(name), previousHash].filter(hash => hash !== undefined).map(hash => `${name}:${hash}\n`)
  )
  return podFile(`${places.registry}/htpasswd`, 'configuration', lines.join(''))
}
