import type { Annotations } from '../sections/kinds.ts'

/** The subset of JSON Schema that describes settings. */
export interface SettingSchema extends Annotations {
  type?: unknown
  properties?: Readonly<Record<string, SettingSchema>>
  items?: SettingSchema
  additionalProperties?: SettingSchema | boolean
  propertyNames?: SettingSchema
  required?: readonly string[]
}

/** The schema of one key or item in a value of `schema`. */
export const schemaInside = (schema: SettingSchema, key: string | number): SettingSchema | undefined => {
  if (typeof key === 'number') return schema.items
  if (schema.properties && Object.hasOwn(schema.properties, key)) return schema.properties[key]
  return typeof schema.additionalProperties === 'object' ? schema.additionalProperties : undefined
}

/** Whether the setting, or any setting in it, may not be printed. */
export const holdsSecret = (schema: SettingSchema): boolean => schema.secret === true || parts(schema).some(holdsSecret)

/** The value with secrets, and the user and password in URLs, replaced by `***`. */
export const hideSecrets = (schema: SettingSchema | undefined, value: unknown): unknown => {
  if (schema?.secret) return '***'
  if (schema?.hides && typeof value === 'string') return value.replace(/^([^:]*:\/\/)?.*@/s, '$1***@')
  if (Array.isArray(value)) return value.map((item, index) => hideSecrets(schema && schemaInside(schema, index), item))
  if (!isMapping(value)) return value
  const entries = Object.entries(value).map(([key, inside]) => [key, hideSecrets(schema && schemaInside(schema, key), inside)] as const)
  return Object.fromEntries(entries)
}

/** A record without a prototype: looking up a user or host named "constructor" must not find anything. */
export const withoutPrototype = <T>(entries: Iterable<readonly [string, T]>): Record<string, T> => {
  const bare: Record<string, T> = Object.create(null)
  for (const [key, value] of entries) bare[key] = value
  return bare
}

/** Whether a value is a mapping of settings. */
export const isMapping = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

const parts = ({ properties = {}, items, additionalProperties }: SettingSchema): SettingSchema[] => [
  ...Object.values(properties),
  ...(items ? [items] : []),
  ...(typeof additionalProperties === 'object' ? [additionalProperties] : [])
]
