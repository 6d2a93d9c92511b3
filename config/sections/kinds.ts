import {
  type Static,
  type TArray,
  type TInteger,
  type TObject,
  type TOptional,
  type TSchema,
  type TString,
  type TUnsafe,
  Type
} from 'typebox'
import type { Unit } from '../values/codecs.ts'
import type { Address, SpaceLimit } from '../values/units.ts'
import { addressPattern, bytesPattern, durationPattern, inodesPattern, spacePattern } from '../values/units.ts'

/**
 * What a running process does with a change: applies it, applies it by making new backends, or refuses it until a
 * restart.
 */
export type ReloadPolicy = 'live' | 'backends' | 'restart'

/** The keywords of a setting besides those of JSON Schema. */
export interface Annotations {
  /** Ends the sentence "expected …". */
  expects?: string
  /** The parser of the value; `atLeast` and `atMost` are milliseconds or bytes. */
  unit?: Unit
  atLeast?: number
  atMost?: number
  /** Applies to this setting, and to those in it without their own. */
  reload?: ReloadPolicy
  /** Values known elsewhere that are refused here, and why. */
  refuses?: Readonly<Record<string, string>>
  /** Never printed; `<setting>File` is accepted instead. */
  secret?: true
  /** Not a secret, but `<setting>File` is accepted instead all the same. */
  orFile?: true
  /** The part of a URL that is never printed. */
  hides?: 'userinfo'
  default?: unknown
  description?: string
}

/** A schema whose values become an `Out` in the effective configuration; null: the setting is absent there. */
export type Setting<Schema extends TSchema, Out> = Schema & { readonly '~effective'?: Out }

/** The type that a schema has in the effective configuration. */
export type Effective<Schema> = '~effective' extends keyof Schema
  ? NonNullable<Schema['~effective']>
  : Schema extends TObject<infer Properties>
    ? EffectiveObject<Properties>
    : Schema extends TArray<infer Item>
      ? readonly Effective<Item>[]
      : Schema extends TSchema
        ? Static<Schema>
        : never

type EffectiveObject<P> = { readonly [K in Exclude<keyof P, AbsentKeys<P>>]: Effective<P[K]> } & {
  readonly [K in AbsentKeys<P>]?: Effective<P[K]>
}

type AbsentKeys<P> = {
  [K in keyof P]: P[K] extends TOptional<TSchema> ? K : P[K] extends { '~effective'?: infer Out } ? (null extends Out ? K : never) : never
}[keyof P]

/** One hour in milliseconds. */
export const HOUR = 3_600_000
/** One MiB in bytes. */
export const MIB = 1_048_576

/** A group of settings that is always there: its own defaults fill it. */
export const section = <T extends Record<string, TSchema>>(description: string, properties: T, annotations: Annotations = {}) =>
  Type.Object(properties, { additionalProperties: false, default: {}, description, expects: 'a mapping of settings', ...annotations })

/** A group of settings whose absence has a meaning. */
export const optionalSection = <T extends Record<string, TSchema>>(description: string, properties: T, annotations: Annotations = {}) =>
  Type.Optional(Type.Object(properties, { additionalProperties: false, description, expects: 'a mapping of settings', ...annotations }))

/** One of a few words. */
export const oneOf = <T extends string>(values: readonly T[], annotations: Annotations) =>
  Type.Unsafe<T>({
    type: 'string',
    enum: [...values],
    expects: values.length === 1 ? values[0] : `one of ${values.join(', ')}`,
    ...annotations
  })

/** A duration; milliseconds in the effective configuration. */
export const duration = (annotations: Annotations & { pattern?: string }): Setting<TString, number> =>
  Type.String({ pattern: durationPattern, unit: 'duration', expects: 'a duration such as 30s, 1h30m or 500ms', ...annotations })

/** A duration, or the word `keep`: then the setting is absent in the effective configuration. */
export const age = (annotations: Annotations): Setting<TString, number | null> =>
  Type.String({
    pattern: `^keep$|${durationPattern}`,
    unit: 'age',
    expects: 'keep, or a duration such as 168h or 1h30m',
    ...annotations
  })

/** A size; bytes in the effective configuration. */
export const bytes = (annotations: Annotations): Setting<TUnsafe<string | number>, number> =>
  Type.Unsafe<string | number>({
    type: ['integer', 'string'],
    pattern: bytesPattern,
    unit: 'bytes',
    expects: 'a number of bytes such as 4194304, 64MiB or 10GB',
    ...annotations
  })

/** A limit in bytes per second. */
export const rate = (description: string) =>
  Type.Optional(
    bytes({
      atLeast: 1024,
      expects: 'a number of bytes such as 1048576 or 50MiB, at least 1KiB',
      description: `${description} Manifests are exempt. Default: no limit.`
    })
  )

/** A size, or a percentage of the filesystem. */
export const space = (annotations: Annotations): Setting<TUnsafe<string | number>, SpaceLimit> =>
  Type.Unsafe<string | number>({
    type: ['integer', 'string'],
    pattern: spacePattern,
    unit: 'space',
    expects: 'a number of bytes such as 10737418240 or 200GiB, or a part of the filesystem such as 80%',
    ...annotations
  })

/** A number of inodes, or a percentage of those of the filesystem. */
export const inodes = (annotations: Annotations): Setting<TUnsafe<string | number>, SpaceLimit> =>
  Type.Unsafe<string | number>({
    type: ['integer', 'string'],
    pattern: inodesPattern,
    unit: 'inodes',
    expects: 'a number of inodes such as 500000, or a part of those of the filesystem such as 5%',
    ...annotations
  })

/** Where a port is bound. */
export const address = (annotations: Annotations): Setting<TString, Address> =>
  Type.String({
    pattern: addressPattern,
    unit: 'address',
    expects: 'host:port such as 127.0.0.1:5001 or "[::1]:5001", port 0 to 65535',
    ...annotations
  })

/** A path; a relative one starts at the folder of the file, and is absolute in the effective configuration. */
export const path = (annotations: Annotations): Setting<TString, string> =>
  Type.String({ minLength: 1, pattern: '^[^\\u0000]*$', unit: 'path', expects: 'the path of a file', ...annotations })

/** The word `stdout`, or a path. */
export const auditTarget = (annotations: Annotations): Setting<TString, string> =>
  Type.String({ minLength: 1, pattern: '^[^\\u0000]*$', unit: 'output', expects: 'stdout, or the path of a file', ...annotations })

/** Several paths. */
export const paths = (item: Annotations, annotations: Annotations & { minItems?: number; maxItems?: number }) =>
  Type.Array(path(item), { uniqueItems: true, expects: 'a list of different files', ...annotations })

/** Certificates in PEM. */
export const certificates = (description: string): Setting<TString, string | null> =>
  text({ unit: 'certificates', orFile: true, expects: 'certificates in PEM (X.509) and nothing else', description })

/** How many at once. */
export const count = (annotations: Annotations & { default: number; maximum: number }): TInteger =>
  Type.Integer({ minimum: 1, expects: `a whole number from 1 to ${annotations.maximum}`, ...annotations })

/** A permission everywhere, or permissions for repositories that patterns match. `metrics` is for the admin port. */
export type GrantSetting = 'pull' | 'push' | 'delete' | 'metrics' | { pull?: Patterns; push?: Patterns; delete?: Patterns }

type Patterns = string | string[]

// A component of a pattern: `*`, one of a name, or first the host of an upstream. `**` may stand once.
const component = '(\\*{1,2}|[a-z0-9]+((\\.|_|__|-+)[a-z0-9]+)*)'
const repositoryPattern = `^(?!.*\\*\\*.*\\*\\*)(${component}|[a-z0-9.-]+:[0-9]{1,5}|\\[[0-9a-f:.]+\\](:[0-9]{1,5})?)(/${component})*$`

const patterns = Type.Optional(
  Type.Unsafe<Patterns>({
    type: ['string', 'array'],
    pattern: repositoryPattern,
    maxLength: 512,
    items: { type: 'string', pattern: repositoryPattern, maxLength: 512, expects: 'a pattern of repositories such as team/**' },
    minItems: 1,
    uniqueItems: true,
    expects: 'a pattern of repositories such as team/**, or a list of different ones'
  })
)

/** The permissions of a user, everywhere or by repository. */
export const permissions = (annotations: Annotations) =>
  Type.Array(
    Type.Unsafe<GrantSetting>({
      type: ['string', 'object'],
      pattern: '^(pull|push|delete|metrics)$',
      properties: { pull: patterns, push: patterns, delete: patterns },
      additionalProperties: false,
      minProperties: 1,
      expects: 'one of pull, push, delete, metrics, or a mapping of the first three to repositories such as { pull: "team/**" }'
    }),
    { uniqueItems: true, expects: 'a list of different actions out of pull, push, delete, metrics', ...annotations }
  )

/** Names of one form. */
export const names = (item: Annotations & { pattern: string }, annotations: Annotations & { minItems?: number; maxItems?: number }) =>
  Type.Array(Type.String({ ...item }), { uniqueItems: true, expects: 'a list of different names', ...annotations })

/** Any text, of one form. */
export const text = (annotations: Annotations & { pattern?: string; minLength?: number; maxLength?: number }): TString =>
  Type.String({ expects: 'a text', ...annotations })

/** Hosts of registries, with or without a port. */
export const hosts = (item: Annotations, annotations: Annotations & { minItems?: number }) =>
  Type.Array(Type.String({ unit: 'host', ...item }), { uniqueItems: true, expects: 'a list of different hosts', ...annotations })

/** Settings of one form by keys that the user chooses. */
export const entries = <T extends TSchema>(
  key: Annotations & { pattern?: string },
  value: T,
  annotations: Annotations
): Setting<TUnsafe<Record<string, Static<T>>>, Readonly<Record<string, Effective<T>>>> =>
  Type.Unsafe<Record<string, Static<T>>>({
    type: 'object',
    propertyNames: { type: 'string', ...key },
    additionalProperties: value,
    expects: 'a mapping of settings',
    ...annotations
  })
