import type { Finding } from '../read/fault.ts'
import { formatValue } from '../read/fault.ts'
import type { Config, Settings } from '../schema.ts'
import { isLoopback } from '../values/loopback.ts'
import { formatAddress } from '../values/units.ts'
import { authChecks } from './auth.ts'
import { s3Checks } from './s3.ts'
import { upstreamChecks } from './upstreams.ts'

// sun_path has 108 bytes with the closing zero.
const MAX_SOCKET_PATH = 107

/** The rules between settings of the effective configuration. */
export const crossChecks = (settings: Settings, config: Config): Finding[] => [
  ...[openToAll(settings, config), ports(config), forwarders(config), socketPath(config)].filter(finding => finding !== undefined),
  ...authChecks(config),
  ...upstreamChecks(settings, config),
  ...s3Checks(settings, config)
]

const openToAll = ({ auth }: Settings, { server: { listen } }: Config): Finding | undefined => {
  if (auth || isLoopback(listen.host)) return undefined
  return {
    path: ['server', 'listen'],
    expected: 'a loopback address or an auth section (being open must be written down: auth: { anonymous: [pull] })',
    value: formatValue(formatAddress(listen))
  }
}

const ports = ({ server: { listen, admin } }: Config): Finding | undefined => {
  if (listen.port === 0 || listen.port !== admin.port || listen.host !== admin.host) return undefined
  return { path: ['server', 'admin'], expected: 'another address than server.listen', value: formatValue(formatAddress(admin)) }
}

const forwarders = ({ server: { forwarders, tls } }: Config): Finding | undefined =>
  forwarders.length === 0 || tls?.clientCA
    ? undefined
    : { path: ['server', 'forwarders'], expected: 'server.tls.clientCA beside it: without one no client certificate is verified' }

const socketPath = ({ server: { control } }: Config): Finding | undefined =>
  Buffer.byteLength(control) <= MAX_SOCKET_PATH
    ? undefined
    : {
        path: ['server', 'control'],
        expected: `a path of at most ${MAX_SOCKET_PATH} bytes, the limit of Unix sockets`,
        value: formatValue(control)
      }
