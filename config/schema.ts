import { Type } from 'typebox'
import { authSection } from './sections/auth.ts'
import { cacheSection, gcSection, scrubSection } from './sections/content.ts'
import { auditTarget, type Effective, section } from './sections/kinds.ts'
import { limitsSection } from './sections/limits.ts'
import { logLevel } from './sections/log.ts'
import { type CheckMode, type Mode, type NamespacePolicy, registrySection } from './sections/registry.ts'
import type { s3Section } from './sections/s3.ts'
import { serverSection } from './sections/server.ts'
import { storageSection } from './sections/storage.ts'
import { upstreamSection } from './sections/upstream.ts'

export type { LogLevel } from './sections/log.ts'
export type { Mode } from './sections/registry.ts'

/**
 * The table of all settings: type, default, parser, meaning and reload policy. Derived from it: the published JSON
 * Schema, validation, the effective configuration and its type, the decision of a reload, and docs/settings.md.
 */
export const settingsSchema = Type.Object(
  {
    registry: registrySection,
    server: serverSection,
    storage: storageSection,
    auth: authSection,
    limits: limitsSection,
    cache: cacheSection,
    gc: gcSection,
    scrub: scrubSection,
    upstream: upstreamSection,
    log: section('The log, on standard output, and the audit stream.', {
      audit: auditTarget({
        default: 'stdout',
        reload: 'live',
        description:
          'Where the audit stream goes, whatever the log level is: stdout, beside the log, or a file of its own, made with mode 0600, to which lines are appended before they are answered for. A renamed file is made anew. While a file takes no lines, pushes and deletions are refused (503); pulls go on.'
      }),
      level: logLevel('The level at start. It can be changed while the registry runs.')
    })
  },
  {
    additionalProperties: false,
    expects: 'a mapping of settings',
    title: 'Deckhouse registry',
    description: 'The settings of the registry.'
  }
)

/** The settings in the notation of the file, with all defaults. */
export type Settings = Type.Static<typeof settingsSchema>

/** The settings in the types of the effective configuration. */
export type TypedSettings = Effective<typeof settingsSchema>

/** Another registry and how it is reached. */
export interface UpstreamConfig {
  /** `host` or `host:port` in lower case, the port only where it was written. */
  readonly host: string
  /** The repository prefix there, without slashes around it; empty if there is none. */
  readonly path: string
  /**
   * Base URLs such as `https://registry.example.org`, without a final slash, at least one. All hold the same content.
   */
  readonly endpoints: readonly string[]
  /** A license is the password of `license-token`. */
  readonly credentials?: { readonly username: string; readonly password: string }
  /** Authorities in PEM, the certificates alone. */
  readonly ca?: string
  /** By which request a cached tag is compared; absent in Direct. */
  readonly revalidate?: 'head' | 'get'
}

/** The upstream behind `server.path` in Direct and Proxy; `ttl` (ms) in Proxy only. */
export interface RouteConfig extends UpstreamConfig {
  readonly checkMode: CheckMode
  readonly ttl?: number
}

/** The upstream behind one `ns=`; its `path` is always empty. */
export interface NamespaceConfig extends UpstreamConfig {
  readonly policy: NamespacePolicy
}

/** A bucket. Blobs of more than `redirect.over` bytes are fetched from the service itself; without it, none. */
export interface S3Config extends Omit<Effective<typeof s3Section>, 'credentials'> {
  /** Absent: found as the tools of AWS find them. */
  readonly credentials?: { readonly accessKeyId: string; readonly secretAccessKey: string } | { readonly file: string }
}

/**
 * The effective configuration: frozen, with all defaults. Durations in ms, sizes in bytes, rates in bytes per second,
 * absolute paths.
 */
export interface Config extends Omit<TypedSettings, 'registry' | 'server' | 'storage' | 'auth'> {
  readonly registry: {
    readonly mode: Mode
    /** Present in Direct and Proxy. */
    readonly upstream?: RouteConfig
    /** By the host that containerd sends as `ns=`, in lower case; without a prototype. */
    readonly upstreams: Readonly<Record<string, NamespaceConfig>>
  }
  readonly server: Omit<TypedSettings['server'], 'control'> & { readonly control: string }
  /** `s3` replaces `filesystem` where it is present. */
  readonly storage: Omit<TypedSettings['storage'], 's3'> & { readonly s3?: S3Config }
  /** `roles` has no prototype: looking up any user name is safe. */
  readonly auth: NonNullable<TypedSettings['auth']>
}
