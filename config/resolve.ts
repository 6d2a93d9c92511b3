import { join } from 'node:path'
import { settingsTable } from './compiled.ts'
import { isMapping, type SettingSchema, withoutPrototype } from './read/walk.ts'
import { registryIn, registrySettingsOf } from './resolve-registry.ts'
import type { Config, S3Config, Settings, TypedSettings } from './schema.ts'
import { codecOf, valid } from './values/codecs.ts'

const EVERYTHING: Config['auth']['anonymous'] = ['pull', 'push', 'delete']

/** The effective configuration of validated settings; relative paths start at `folder`. */
export const resolveSettings = (settings: Settings, folder: string): Config => {
  const { registry, server, storage, auth, upstream, ...others } = typed(settingsTable, settings, folder) as TypedSettings
  const { s3, ...withoutS3 } = storage
  const { proxy, ...withoutProxy } = upstream
  const ownFolder = s3 ? s3.spool : join(storage.filesystem.root, '.registry')
  return freeze({
    ...others,
    registry: registryIn(registry),
    server: { ...server, control: server.control ?? join(ownFolder, 'control.sock') },
    storage: { ...(s3 && { s3: s3In(s3) }), ...withoutS3 },
    auth: auth ?? { anonymous: EVERYTHING },
    upstream: { ...withoutProxy, ...((proxy?.http || proxy?.https) && { proxy: proxyIn(proxy) }) }
  })
}

/** The settings that resolve to this configuration, in the file's notation. */
export const settingsOf = ({ registry, storage, upstream, ...others }: Config): Record<keyof Config, unknown> => {
  const { filesystem, ...withoutFilesystem } = storage
  return written(settingsTable, {
    registry: registrySettingsOf(registry),
    storage: storage.s3 ? withoutFilesystem : storage,
    // Present even without a proxy, so that the environment does not add one.
    upstream: { ...upstream, proxy: { http: '', https: '', none: '', ...upstream.proxy } },
    ...others
  }) as Record<keyof Config, unknown>
}

// Parses values by the units of the schema.
const typed = (schema: SettingSchema, value: unknown, folder: string): unknown => {
  if (schema.unit && (typeof value === 'string' || typeof value === 'number'))
    return valid(codecOf(schema.unit).parse(String(value), folder))
  if (Array.isArray(value)) return value.map(item => typed(schema.items ?? {}, item, folder))
  if (!isMapping(value)) return value
  const entries = settingsIn(schema, value).map(([key, inside]) => [key, typed(inside, value[key], folder)] as const)
  const present = entries.filter(([, inside]) => inside !== null && inside !== undefined)
  return schema.properties ? Object.fromEntries(present) : withoutPrototype(present)
}

const written = (schema: SettingSchema, value: unknown): unknown => {
  const format = schema.unit && codecOf(schema.unit).format
  if (format) return format(value as never)
  if (Array.isArray(value)) return value.map(item => written(schema.items ?? {}, item))
  if (!isMapping(value)) return value
  const entries = settingsIn(schema, { ...absentWords(schema), ...value }).map(([key, inside]) => {
    return [key, Object.hasOwn(value, key) ? written(inside, value[key]) : inside.default] as const
  })
  return Object.fromEntries(entries)
}

// The settings that `value` has, in the order of the schema.
const settingsIn = ({ properties, additionalProperties }: SettingSchema, value: object): [string, SettingSchema][] => {
  const has = (key: string): boolean => Object.hasOwn(value, key)
  if (properties) return Object.entries(properties).filter(([key]) => has(key))
  return Object.keys(value).map(key => [key, typeof additionalProperties === 'object' ? additionalProperties : {}])
}

// The settings whose default is a word that means "absent", such as keep and off.
const absentWords = ({ properties = {} }: SettingSchema): Record<string, unknown> =>
  Object.fromEntries(
    Object.entries(properties).filter(
      ([, { unit, default: word }]) => unit && typeof word === 'string' && codecOf(unit).parse(word, '/') === null
    )
  )

const s3In = ({ credentials, ...s3 }: NonNullable<TypedSettings['storage']['s3']>): S3Config => {
  const { file, accessKeyId, secretAccessKey } = credentials ?? {}
  if (file !== undefined) return { ...s3, credentials: { file } }
  return accessKeyId !== undefined && secretAccessKey !== undefined ? { ...s3, credentials: { accessKeyId, secretAccessKey } } : s3
}

const proxyIn = ({ http, https, none }: NonNullable<TypedSettings['upstream']['proxy']>) => ({
  ...(http && { http }),
  ...(https && { https }),
  ...(none && { none })
})

const freeze = <T extends object>(value: T): T => {
  for (const inside of Object.values(value)) {
    if (typeof inside === 'object' && inside !== null) freeze(inside)
  }
  return Object.freeze(value)
}
