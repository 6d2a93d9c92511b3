import { Type } from 'typebox'
import {
  actions,
  address,
  bytes,
  count,
  duration,
  HOUR,
  inodes,
  MIB,
  names,
  oneOf,
  optionalSection,
  path,
  rate,
  section,
  space
} from './sections/kinds.ts'
import { cacheSection, gcSection, registrySection, upstreamSection } from './sections/registry.ts'
import { s3Section } from './sections/s3.ts'

/** What a user may be allowed to do; `pull` includes the catalog. */
export type Permission = 'pull' | 'push' | 'delete'
/** The log levels, least to most talkative. */
export type LogLevel = 'silent' | 'fatal' | 'error' | 'warn' | 'info' | 'debug' | 'trace'
/** What the registry is in the cluster, in the ModuleConfig's words. */
export type Mode = 'Direct' | 'Proxy' | 'Local'
/** Which images must be there before a change of the registry is taken: all critical ones, or Deckhouse's own alone. */
export type CheckMode = 'Default' | 'Relax'
/** What is kept of what comes from a further upstream: all of it, or nothing. */
export type Policy = 'cache' | 'transit'
/** Where a TCP port is bound; port 0 is any free one. */
export interface Address {
  readonly host: string
  readonly port: number
}

/** A number of bytes or inodes, or a part of what the filesystem has. */
export type SpaceLimit = number | { readonly percent: number }

/** Another registry and how it is reached. */
export interface UpstreamConfig {
  /** `host` or `host:port` in lower case, the port only where it was written. */
  readonly host: string
  /** The repository prefix there, without slashes around it; empty when there is none. */
  readonly path: string
  /** Base URLs such as `https://registry.example.org`, no slash at the end, at least one; all of them hold the same content. */
  readonly endpoints: readonly string[]
  /** A license is the password of `license-token`. */
  readonly credentials?: { readonly username: string; readonly password: string }
  /** Authorities in PEM, the certificates alone. */
  readonly ca?: string
}

/** What stands behind `server.path` in Direct and Proxy; `ttl` (in milliseconds) in Proxy only. */
export interface RouteConfig extends UpstreamConfig {
  readonly checkMode: CheckMode
  readonly ttl?: number
}

/** What stands behind one `ns=`; its `path` is always empty. */
export interface NamespaceConfig extends UpstreamConfig {
  readonly policy: Policy
}

/** A bucket and how it is used. */
export interface S3Config {
  readonly bucket: string
  readonly region: string
  /** A URL without a slash at its end. Absent: AWS's own. */
  readonly endpoint?: string
  readonly forcePathStyle: boolean
  readonly prefix?: string
  /** Absent: as the tools of AWS find them. */
  readonly credentials?: { readonly accessKeyId: string; readonly secretAccessKey: string } | { readonly file: string }
  readonly ca?: string
  /** Blobs of more bytes are fetched from the service itself. Absent: none. */
  readonly redirect?: { readonly over: number }
  readonly partBytes: number
  readonly spool: string
  readonly spoolBytes: number
}

/** The effective configuration: frozen, every default filled in, durations in milliseconds, sizes in bytes, paths absolute. */
export interface Config {
  readonly registry: {
    readonly mode: Mode
    /** Present in Direct and Proxy. */
    readonly upstream?: RouteConfig
    /** By what containerd gives as ns=, in lower case; without a prototype. */
    readonly upstreams: Readonly<Record<string, NamespaceConfig>>
  }
  readonly server: {
    readonly listen: Address
    readonly names: readonly string[]
    readonly path: string
    readonly tls?: { readonly certificate: string; readonly key: string; readonly clientCA?: string }
    readonly admin: Address
    readonly control: string
    readonly forwarders: readonly string[]
    readonly drain: number
  }
  readonly storage: {
    readonly filesystem: {
      readonly root: string
      /** Bytes per second, like `egress` and `upstream` below. Absent: no limit. */
      readonly writeLimit?: number
    }
    /** In force in place of `filesystem`, if it is there. */
    readonly s3?: S3Config
    /** Absent: no limit. */
    readonly budget?: SpaceLimit
    readonly inodeBudget?: SpaceLimit
    readonly reserve: SpaceLimit
    readonly inodeReserve: SpaceLimit
  }
  readonly auth: {
    /** `roles` has no prototype: a lookup of any user's name is safe. */
    readonly users?: { readonly file: string; readonly roles: Readonly<Record<string, readonly Permission[]>> }
    readonly anonymous: readonly Permission[]
  }
  readonly limits: {
    readonly manifestBytes: number
    readonly uploadIdle: number
    readonly minimumRate: { readonly bytes: number; readonly per: number }
    readonly connections: number
    readonly uploads: number
    readonly egress?: number
    readonly upstream?: number
  }
  readonly cache: {
    readonly tagTTL: number
    readonly onUpstreamNotFound: 'serve' | 'forget'
    readonly negativeTTL: number
    readonly metadataTTL: number
    readonly pin: readonly string[]
    readonly pinFile?: string
  }
  readonly gc: {
    /** Absent: untagged manifests are kept. */
    readonly untagged?: number
    readonly grace: number
    readonly every: number
  }
  readonly scrub: {
    readonly every: number
  }
  readonly upstream: {
    readonly connections: number
    readonly connectTimeout: number
    readonly headerTimeout: number
    readonly bodyTimeout: number
    readonly fills: number
    /** `host` or `host:port` in lower case. */
    readonly tokenHosts: readonly string[]
    /** URLs that may hold credentials; `none` as in NO_PROXY. Absent: no proxy. */
    readonly proxy?: { readonly http?: string; readonly https?: string; readonly none?: string }
  }
  readonly log: { readonly level: LogLevel }
}

/** Every setting of the file, as a JSON Schema with the annotations above. */
export const settingsSchema = Type.Object(
  {
    registry: registrySection,
    server: section('The ports and how they are protected.', {
      listen: address({
        default: '127.0.0.1:5001',
        description: 'The registry port. Beyond loopback the auth section is demanded, so that being open is always written down.'
      }),
      names: names(
        { pattern: '^[A-Za-z0-9.-]+(:[0-9]{1,5})?$', expects: 'a host name with or without a port' },
        {
          default: ['registry.d8-system.svc:5001'],
          description: 'The names of this registry: a pull whose ns= is one of them means the registry itself and not one behind it.'
        }
      ),
      path: Type.String({
        pattern: '^[a-z0-9]+((\\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\\.|_|__|-+)[a-z0-9]+)*)*$',
        maxLength: 255,
        expects: 'a repository name of lower-case components',
        default: 'system/deckhouse',
        description: "The prefix of repository names under which the platform's images are addressed in every mode."
      }),
      tls: optionalSection('TLS 1.2 and newer on the registry port. The files are read again when they change on disk.', {
        certificate: path({ description: 'The certificate chain in PEM, leaf first.' }),
        key: path({ description: 'The private key in PEM, without a passphrase.' }),
        clientCA: Type.Optional(
          path({ description: 'Authorities of client certificates: one that is presented is verified, none is demanded.' })
        )
      }),
      admin: address({
        default: '127.0.0.1:5002',
        description: 'Metrics, probes and status: read-only plain HTTP, which may be bound to the address of a node.'
      }),
      control: Type.Optional(
        path({
          description:
            'The Unix socket of the commands, mode 0600. Default: <root>/.registry/control.sock, so that who owns the root owns it.'
        })
      ),
      forwarders: names(
        { pattern: '^.{1,64}$', expects: 'the common name of a client certificate' },
        {
          default: [],
          description: 'Common names of the client certificates whose X-Forwarded-For is believed; from anybody else it could be forged.'
        }
      ),
      drain: duration({
        default: '25s',
        atMost: HOUR,
        description: 'How long running transfers may go on after SIGTERM; a little less than the 30s after which a Pod is killed.'
      })
    }),
    storage: section('Where the bytes rest.', {
      filesystem: section('A directory in the layout of CNCF Distribution.', {
        root: path({
          default: '/opt/deckhouse/registry',
          expects: 'the path of a directory',
          description: 'The directory that holds docker/registry/v2; owned by one process at a time.'
        }),
        writeLimit: rate('Bytes per second that pushes and downloads into the cache write together, for the sake of others on this disk.')
      }),
      s3: s3Section,
      budget: Type.Optional(
        space({
          description:
            'What the store may take. Beyond it pushes are refused, and a cache makes room by removing what was not asked for the longest. Default: no limit but the reserve.'
        })
      ),
      reserve: space({
        default: '10%',
        description:
          'What stays free on the filesystem, whoever fills it; then pushes are refused and nothing more is cached. At 10% the kubelet begins to evict Pods.'
      }),
      inodeBudget: Type.Optional(inodes({ description: 'Like budget, in files and directories.' })),
      inodeReserve: inodes({ default: '5%', description: 'Like reserve, in inodes; at 5% the kubelet begins to evict Pods.' })
    }),
    auth: optionalSection(
      'Who may do what. Without this section everything is allowed to everybody, which only a loopback address permits.',
      {
        users: optionalSection('Users with a password.', {
          file: path({ description: 'An htpasswd file with bcrypt passwords. A user who stands there twice has two valid passwords.' }),
          roles: Type.Unsafe<Record<string, Permission[]>>({
            type: 'object',
            propertyNames: { minLength: 1, expects: 'the name of a user' },
            additionalProperties: actions({}),
            default: {},
            expects: 'a mapping of user names to lists of actions',
            description: 'What a user may do, by name. The common name of a verified client certificate is such a name too.'
          })
        }),
        anonymous: actions({ default: [], description: 'What is allowed without credentials; pull includes the catalog.' })
      }
    ),
    limits: section('What one client may take. They measure progress, never the total time of a transfer.', {
      manifestBytes: bytes({
        default: 4_194_304,
        atLeast: 1024,
        atMost: 8 * MIB,
        expects: 'a number of bytes such as 4194304 or 4MiB, from 1KiB to 8MiB',
        description:
          'The largest manifest that is accepted; manifests are the only content held in memory. The specification asks for at least 4 MiB.'
      }),
      uploadIdle: duration({
        default: '24h',
        atLeast: 1000,
        atMost: 9000 * HOUR,
        expects: 'a duration such as 24h or 1h30m, from 1s to 9000h',
        description: 'An upload session that received nothing for so long is removed with its bytes.'
      }),
      minimumRate: section('A client slower than this is closed, so that stalled clients do not use up the connections.', {
        bytes: bytes({ default: 1024, atLeast: 1, description: 'So many bytes at least in each period.' }),
        per: duration({
          default: '30s',
          atLeast: 1000,
          atMost: HOUR,
          expects: 'a duration such as 30s, from 1s to 1h',
          description: 'The period.'
        })
      }),
      connections: count({
        default: 4096,
        maximum: 1_000_000,
        description: 'Open connections to the registry port; more than that are refused.'
      }),
      uploads: count({
        default: 512,
        maximum: 1_000_000,
        description: 'Upload requests that are open at once; each holds buffers and a file.'
      }),
      egress: rate('Bytes per second of blobs to all clients together, in equal shares.'),
      upstream: rate('Bytes per second of blobs from all upstreams together, in equal shares.')
    }),
    cache: cacheSection,
    gc: gcSection,
    scrub: section('The check of everything that is stored: blobs are read and their digests compared, slowly and beside all else.', {
      every: duration({
        default: '720h',
        atLeast: 1000,
        atMost: 9000 * HOUR,
        expects: 'a duration such as 720h, from 1s to 9000h',
        description: 'Within so long everything is read once. Read at 1MiB to 64MiB a second, so a small store is done sooner and rests.'
      })
    }),
    upstream: upstreamSection,
    log: section('What is written to the standard output.', {
      level: oneOf<LogLevel>(['silent', 'fatal', 'error', 'warn', 'info', 'debug', 'trace'], {
        default: 'info',
        description: 'The level at start; it can be changed while the registry runs.'
      })
    })
  },
  {
    additionalProperties: false,
    expects: 'a mapping of settings',
    title: 'Deckhouse registry',
    description: 'The settings of the registry.'
  }
)

/** The settings as a file holds them, after the defaults were filled in and before they were resolved to a `Config`. */
export type Settings = Type.Static<typeof settingsSchema>
