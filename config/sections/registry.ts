import { Type } from 'typebox'
import type { CheckMode, Mode, Policy } from '../schema.ts'
import { imagesRepoPattern } from '../values/hosts.ts'
import { count, duration, durationOr, entries, HOUR, hosts, names, oneOf, optionalSection, path, section, text } from './kinds.ts'

const MINUTE = 60_000

// Go's and curl's limits are far above; a header has to hold it.
const secretText = '^[^\\p{Cc}\\p{Cs}]{0,4096}$'

const account = {
  license: Type.Optional(
    text({
      pattern: secretText,
      secret: true,
      expects: 'a license: a text without control characters',
      description: 'Stands for the user license-token with this password. Excludes username and password.'
    })
  ),
  username: Type.Optional(
    text({
      pattern: '^[^\\p{Cc}\\p{Cs}:]{0,255}$',
      expects: 'a user name of at most 255 characters, without colons and control characters',
      description: 'The user at the upstream. Without one, and without a license, it is asked anonymously.'
    })
  ),
  password: Type.Optional(
    text({
      pattern: secretText,
      secret: true,
      expects: 'a password: a text without control characters',
      description: 'The password of that user.'
    })
  )
}

const reach = {
  scheme: oneOf(['HTTP', 'HTTPS'], { default: 'HTTPS', description: 'How the upstream is spoken to.' }),
  ...account,
  ca: Type.Optional(
    text({
      unit: 'certificates',
      orFile: true,
      expects: 'certificates in PEM (X.509) and nothing else',
      description: "Authorities that the upstream's certificate is verified with, in PEM. Empty: those of the system."
    })
  ),
  endpoints: Type.Optional(
    hosts(
      { expects: 'host or host:port such as 10.0.0.1:5001, port 1 to 65535' },
      {
        minItems: 1,
        description:
          'Where the content really is, in place of the host: mirrors or replicas that hold the same content under the same path, best first.'
      }
    )
  )
}

const imagesRepo = text({
  pattern: imagesRepoPattern,
  minLength: 1,
  unit: 'imagesRepo',
  expects: 'host[:port][/path] such as registry.example.org/deckhouse/ee, port 1 to 65535, no . or .. in the path',
  default: 'registry.deckhouse.io/deckhouse/ce',
  description: 'Where the images are: a registry, with or without a path in it.'
})

const checkMode = oneOf<CheckMode>(['Default', 'Relax'], {
  default: 'Default',
  description: 'Which images the upstream must have: Default, all that are critical; Relax, that of Deckhouse alone, to change editions.'
})

const ttl = duration({
  pattern: '^(?:(\\d+)h)?(?:(\\d+)m)?(?:(\\d+)s)?$',
  default: '168h',
  expects: 'a duration in hours, minutes and seconds such as 168h or 1h30m',
  description: 'What was cached and not been asked for so long may be removed; at least 5m.'
})

/** What the registry is in the cluster. */
export const registrySection = section(
  'What the registry is in the cluster: settings.registry of ModuleConfig deckhouse, and upstreams beside it.',
  {
    mode: oneOf<Mode>(['Direct', 'Proxy', 'Local'], {
      default: 'Local',
      refuses: { Unmanaged: 'with Unmanaged the cluster goes without this registry' },
      description:
        'Direct: everything passes through to the upstream. Proxy: the same, and what was pulled is kept. Local: images are pushed here and rest here; this registry is their only source.'
    }),
    direct: optionalSection('The upstream of mode Direct.', { imagesRepo, ...reach, checkMode }),
    proxy: optionalSection('The upstream of mode Proxy.', { imagesRepo, ...reach, checkMode, ttl }),
    upstreams: entries(
      { unit: 'host', expects: 'a registry as containerd gives it in ns=: host or host:port, port 1 to 65535' },
      Type.Object(
        {
          ...reach,
          policy: oneOf<Policy>(['cache', 'transit'], {
            default: 'cache',
            description: 'cache: what was pulled is kept, under upstreams/<host>/; transit: everything passes through.'
          })
        },
        { additionalProperties: false, expects: 'a mapping of settings', description: 'One further registry.' }
      ),
      {
        default: {},
        description: 'Further registries, by the host that containerd appends as ns=. Any other is unknown and never dialled.'
      }
    )
  }
)

/** How long answers of an upstream hold. */
export const cacheSection = section('How long answers of an upstream hold. Content asked for by digest holds for ever.', {
  tagTTL: duration({ default: '1m', atMost: 9000 * HOUR, description: 'For so long a cached tag is served without asking.' }),
  onUpstreamNotFound: oneOf(['serve', 'forget'], {
    default: 'serve',
    description: 'What becomes of a cached tag that the upstream no longer has: serve the last known, or forget it.'
  }),
  negativeTTL: duration({
    default: '10s',
    atMost: HOUR,
    description: 'For so long it is remembered that the upstream does not have something.'
  }),
  metadataTTL: duration({
    default: '5s',
    atMost: HOUR,
    description:
      'For so long what another registry changed in a bucket that both use may go unseen. A directory has one registry, which sees everything at once.'
  }),
  pin: names(
    { pattern: '^[A-Za-z0-9._:@/*-]{1,512}$', expects: 'a pattern such as docker.io/library/*, system/deckhouse:v1.* or **@sha256:0123*' },
    {
      default: [],
      description:
        'What is never removed from the cache: patterns of <name>, <name>:<tag> or <name>@<digest>, where * is part of a component and ** any part.'
    }
  ),
  pinFile: Type.Optional(path({ description: 'A file of further such patterns, one a line; it is read again whenever it matters.' }))
})

/** What is removed in the background. */
export const gcSection = section('What is removed in the background, because nothing needs it.', {
  untagged: durationOr('keep', {
    default: 'keep',
    description:
      'When a pushed manifest goes that no tag names, no index holds and that refers to nothing that stays: never, or after so long. A platform pulls by digest.'
  }),
  grace: duration({
    default: '1h',
    atMost: 9000 * HOUR,
    description: 'What is younger stays even if nothing needs it: a push takes its time from the first blob to the manifest.'
  }),
  every: duration({
    default: '24h',
    atLeast: 1000,
    atMost: 9000 * HOUR,
    expects: 'a duration such as 24h, from 1s to 9000h',
    description: 'How often, give or take a tenth; also how often what expired is removed from the cache.'
  })
})

const timeout = (value: string, description: string) =>
  duration({ default: value, atLeast: 100, atMost: 10 * MINUTE, expects: 'a duration such as 5s, from 100ms to 10m', description })

const proxyUrl = (description: string) =>
  Type.Optional(
    text({ unit: 'proxy', orFile: true, hides: 'userinfo', expects: 'http(s)://[user:password@]host[:port], or nothing', description })
  )

/** How upstreams are asked. */
export const upstreamSection = section('How upstreams are asked, each of them.', {
  connections: count({ default: 64, maximum: 4096, description: 'Open connections to one endpoint.' }),
  connectTimeout: timeout('5s', 'How long a connection may take, TLS included.'),
  headerTimeout: timeout('20s', 'From a request to the head of its answer.'),
  bodyTimeout: timeout('60s', 'Between two pieces of a body; its whole may take any time.'),
  fills: count({
    default: 64,
    maximum: 4096,
    description: 'Blobs that are fetched into the cache at once; what is asked for beyond that passes through.'
  }),
  tokenHosts: hosts(
    { expects: 'host or host:port, port 1 to 65535' },
    { default: [], description: "Where tokens may be asked for beside the upstream's own host and its domain: credentials are sent there." }
  ),
  proxy: optionalSection('The proxies to upstreams. What is not set here is taken from HTTP_PROXY, HTTPS_PROXY and NO_PROXY.', {
    http: proxyUrl('The proxy before http upstreams; empty: none, whatever the environment says.'),
    https: proxyUrl('The proxy before https upstreams; empty: none, whatever the environment says.'),
    none: Type.Optional(
      text({
        pattern: '^[^\\p{Cc}\\p{Cs}]{0,8192}$',
        expects: 'a list as in NO_PROXY, separated by commas',
        description: 'What is asked without a proxy, as in NO_PROXY: hosts, domains, addresses, subnets; separated by commas.'
      })
    )
  })
})
