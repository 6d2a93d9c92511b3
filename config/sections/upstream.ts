import { type TString, Type } from 'typebox'
import { count, duration, hosts, optionalSection, type Setting, section, text } from './kinds.ts'

const MINUTE = 60_000

const timeout = (value: string, description: string) =>
  duration({ default: value, atLeast: 100, atMost: 10 * MINUTE, expects: 'a duration such as 5s, from 100ms to 10m', description })

const proxyUrl = (description: string) =>
  Type.Optional<Setting<TString, string | null>>(
    text({ unit: 'proxy', orFile: true, hides: 'userinfo', expects: 'http(s)://[user:password@]host[:port], or nothing', description })
  )

/** How upstreams are requested. */
export const upstreamSection = section(
  'Connections and requests to upstreams, the same for each of them.',
  {
    connections: count({
      default: 64,
      maximum: 4096,
      description:
        'The most open connections to one endpoint for bodies of blobs. Everything small has as many of its own, so that manifests do not wait for slow blobs.'
    }),
    connectTimeout: timeout('5s', 'The longest time to connect, TLS included.'),
    headerTimeout: timeout('20s', 'The longest time from a request to the head of its response.'),
    bodyTimeout: timeout('60s', 'The longest pause within a body. A whole body may take any time.'),
    fills: count({
      default: 64,
      maximum: 4096,
      description:
        'The most blobs that are downloaded into the cache at once. Further requested blobs pass through uncached. Where other upstreams have taken all of them, each still has an equal part of as many.'
    }),
    tokenHosts: hosts(
      { expects: 'host or host:port, port 1 to 65535' },
      {
        default: [],
        description:
          "Hosts that may be asked for tokens, besides the upstream's own host and port and the known token services of public registries. Credentials are sent to them. A host without a port stands for all its ports."
      }
    ),
    redirectHosts: hosts(
      { expects: 'host or host:port, port 1 to 65535' },
      {
        default: [],
        description:
          'Hosts that redirects and upload locations of upstreams may lead to although their address is private, loopback or link-local, such as an object store in the own network. Public addresses need no entry, metadata services are never contacted. A host without a port stands for all its ports.'
      }
    ),
    proxy: optionalSection('The proxies to upstreams. Settings that are missing here come from HTTP_PROXY, HTTPS_PROXY and NO_PROXY.', {
      http: proxyUrl('The proxy for http upstreams. Empty: none, whatever the environment says.'),
      https: proxyUrl('The proxy for https upstreams. Empty: none, whatever the environment says.'),
      none: Type.Optional(
        text({
          pattern: '^[^\\p{Cc}\\p{Cs}]{0,8192}$',
          expects: 'a list as in NO_PROXY, separated by commas',
          description:
            'Upstreams that are reached without a proxy, as in NO_PROXY: hosts, domains, addresses, subnets; separated by commas.'
        })
      )
    })
  },
  { reload: 'backends' }
)
