import { type Static, type TSchema, Type } from 'typebox'
import type { Permission } from '../schema.ts'
import { addressPattern, bytesPattern, durationPattern, inodesPattern, spacePattern } from '../values/units.ts'

/** A key of ours beside JSON Schema's: what a fault calls a right value, how a string is read, and what may not be printed. */
export interface Annotations {
  /** Ends the sentence "expected …". */
  expects?: string
  /** Checked by the parser of that unit; `atLeast` and `atMost` are milliseconds or bytes. */
  unit?: 'duration' | 'bytes' | 'space' | 'inodes' | 'address' | 'host' | 'imagesRepo' | 'certificates' | 'proxy'
  atLeast?: number
  atMost?: number
  /** Values that are known elsewhere, and why they are not taken here. */
  refuses?: Readonly<Record<string, string>>
  /** Never printed; `<setting>File` is accepted in its place. */
  secret?: true
  /** Not a secret, but `<setting>File` is accepted in its place all the same. */
  orFile?: true
  /** The part of a URL that is never printed. */
  hides?: 'userinfo'
  default?: unknown
  description?: string
}

/** One hour in milliseconds. */
export const HOUR = 3_600_000
/** One MiB in bytes. */
export const MIB = 1_048_576

/** A group of settings that is always there: its own defaults fill it. */
export const section = <T extends Record<string, TSchema>>(description: string, properties: T) =>
  Type.Object(properties, { additionalProperties: false, default: {}, description, expects: 'a mapping of settings' })

/** A group of settings whose absence means something. */
export const optionalSection = <T extends Record<string, TSchema>>(description: string, properties: T) =>
  Type.Optional(Type.Object(properties, { additionalProperties: false, description, expects: 'a mapping of settings' }))

/** One of a few words. */
export const oneOf = <T extends string>(values: readonly T[], annotations: Annotations) =>
  Type.Unsafe<T>({
    type: 'string',
    enum: [...values],
    expects: values.length === 1 ? values[0] : `one of ${values.join(', ')}`,
    ...annotations
  })

/** A length of time. */
export const duration = (annotations: Annotations & { pattern?: string }) =>
  Type.String({ pattern: durationPattern, unit: 'duration', expects: 'a duration such as 30s, 1h30m or 500ms', ...annotations })

/** A length of time, or a word in its place; whoever resolves it tells them apart. */
export const durationOr = (word: string, annotations: Annotations) =>
  Type.String({
    pattern: `^${word}$|${durationPattern}`,
    expects: `${word}, or a duration such as 168h or 1h30m`,
    ...annotations
  })

/** A size. */
export const bytes = (annotations: Annotations) =>
  Type.Unsafe<string | number>({
    type: ['integer', 'string'],
    pattern: bytesPattern,
    unit: 'bytes',
    expects: 'a number of bytes such as 4194304, 64MiB or 10GB',
    ...annotations
  })

/** How many bytes in a second, at most. */
export const rate = (description: string) =>
  Type.Optional(
    bytes({
      atLeast: 1024,
      expects: 'a number of bytes such as 1048576 or 50MiB, at least 1KiB',
      description: `${description} Manifests are exempt. Default: no limit.`
    })
  )

/** A size, or a part of the filesystem. */
export const space = (annotations: Annotations) =>
  Type.Unsafe<string | number>({
    type: ['integer', 'string'],
    pattern: spacePattern,
    unit: 'space',
    expects: 'a number of bytes such as 10737418240 or 200GiB, or a part of the filesystem such as 80%',
    ...annotations
  })

/** A number of inodes, or a part of those of the filesystem. */
export const inodes = (annotations: Annotations) =>
  Type.Unsafe<string | number>({
    type: ['integer', 'string'],
    pattern: inodesPattern,
    unit: 'inodes',
    expects: 'a number of inodes such as 500000, or a part of those of the filesystem such as 5%',
    ...annotations
  })

/** Where a port is bound. */
export const address = (annotations: Annotations) =>
  Type.String({
    pattern: addressPattern,
    unit: 'address',
    expects: 'host:port such as 127.0.0.1:5001 or "[::1]:5001", port 0 to 65535',
    ...annotations
  })

/** A path; a relative one starts at the folder of the file. */
export const path = (annotations: Annotations) =>
  Type.String({ minLength: 1, pattern: '^[^\\u0000]*$', expects: 'the path of a file', ...annotations })

/** How many at once. */
export const count = (annotations: Annotations & { default: number; maximum: number }) =>
  Type.Integer({ minimum: 1, expects: `a whole number from 1 to ${annotations.maximum}`, ...annotations })

/** What somebody may do. */
export const actions = (annotations: Annotations) =>
  Type.Array(oneOf<Permission>(['pull', 'push', 'delete'], {}), {
    uniqueItems: true,
    expects: 'a list of different actions out of pull, push, delete',
    ...annotations
  })

/** Names of one form. */
export const names = (item: Annotations & { pattern: string }, annotations: Annotations) =>
  Type.Array(Type.String({ ...item }), { uniqueItems: true, expects: 'a list of different names', ...annotations })

/** Any text, of one form. */
export const text = (annotations: Annotations & { pattern?: string; minLength?: number }) =>
  Type.String({ expects: 'a text', ...annotations })

/** Registries, or where they are reached. */
export const hosts = (item: Annotations, annotations: Annotations & { minItems?: number }) =>
  Type.Array(Type.String({ unit: 'host', ...item }), { uniqueItems: true, expects: 'a list of different hosts', ...annotations })

/** Settings of one form by keys that the user chooses. */
export const entries = <T extends TSchema>(key: Annotations, value: T, annotations: Annotations) =>
  Type.Unsafe<Record<string, Static<T>>>({
    type: 'object',
    propertyNames: { type: 'string', ...key },
    additionalProperties: value,
    expects: 'a mapping of settings',
    ...annotations
  })
