import { codecOf, valid } from '../values/codecs.ts'
import { isMapping, type SettingSchema, withoutPrototype } from './walk.ts'

/** The values of validated settings, parsed by the units of the schema; relative paths start at `folder`. */
export const typed = (schema: SettingSchema, value: unknown, folder: string): unknown => {
  if (schema.unit && (typeof value === 'string' || typeof value === 'number'))
    return valid(codecOf(schema.unit).parse(String(value), folder))
  if (Array.isArray(value)) return value.map(item => typed(schema.items ?? {}, item, folder))
  if (!isMapping(value)) return value
  const entries = settingsIn(schema, value).map(([key, inside]) => [key, typed(inside, value[key], folder)] as const)
  const present = entries.filter(([, inside]) => inside !== null && inside !== undefined)
  return schema.properties ? Object.fromEntries(present) : withoutPrototype(present)
}

/** The settings that `typed` parses to this value, in the notation of the file, with all defaults. */
export const written = (schema: SettingSchema, value: unknown): unknown => {
  const format = schema.unit && codecOf(schema.unit).format
  if (format) return format(value as never)
  if (Array.isArray(value)) return value.map(item => written(schema.items ?? {}, item))
  if (!isMapping(value)) return value
  const entries = settingsIn(schema, { ...absentWords(schema), ...value }).map(([key, inside]) => {
    return [key, Object.hasOwn(value, key) ? written(inside, value[key]) : inside.default] as const
  })
  return Object.fromEntries(entries)
}

/** Freezes a value with all that is in it. */
export const freeze = <T extends object>(value: T): T => {
  for (const inside of Object.values(value)) {
    if (typeof inside === 'object' && inside !== null) freeze(inside)
  }
  return Object.freeze(value)
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
