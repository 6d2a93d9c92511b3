import type { TSchema } from 'typebox'
import { fileSetting, hasFile } from './read/secret.ts'
import type { SettingSchema } from './read/walk.ts'
import { settingsSchema } from './schema.ts'

/** The settings as a JSON Schema for editors and other programs, without our own keywords. */
export const configSchema = (schema: TSchema = settingsSchema): string =>
  `${JSON.stringify({ $schema: 'http://json-schema.org/draft-07/schema#', ...published(schema) }, null, 2)}\n`

/** The settings with our own keywords, for the program itself. */
export const compiledSchema = (schema: TSchema = settingsSchema): string => `${JSON.stringify(schema)}\n`

/**
 * The standard form of one schema: secrets are write-only and have a `…File` sibling; settings with a default are
 * optional.
 */
export const published = (schema: TSchema): Record<string, unknown> => standard(schema)

const standard = (schema: SettingSchema): Record<string, unknown> => {
  const {
    expects: _e,
    unit: _u,
    reload: _re,
    atLeast: _l,
    atMost: _m,
    refuses: _r,
    hides: _h,
    orFile: _o,
    secret,
    properties,
    items,
    additionalProperties,
    propertyNames,
    required,
    ...rest
  } = schema
  const inside = Object.entries(properties ?? {})
  const demanded = required?.filter(key => properties?.[key]?.default === undefined && !properties?.[key]?.secret) ?? []
  const choices = inside.filter(([, each]) => hasFile(each)).map(([key]) => choice(key, required?.includes(key) ? 'one' : 'none'))
  return {
    ...rest,
    ...(secret && { writeOnly: true }),
    ...(properties && { properties: Object.fromEntries(inside.flatMap(withFile)) }),
    ...(demanded.length > 0 && { required: demanded }),
    ...(choices.length > 0 && { allOf: choices }),
    ...(items && { items: standard(items) }),
    ...(propertyNames && { propertyNames: standard(propertyNames) }),
    ...(additionalProperties !== undefined && {
      additionalProperties: typeof additionalProperties === 'object' ? standard(additionalProperties) : additionalProperties
    })
  }
}

const withFile = ([key, schema]: [string, SettingSchema]): [string, unknown][] => {
  const own: [string, unknown] = [key, standard(schema)]
  if (!hasFile(schema)) return [own]
  return [
    own,
    [fileSetting(key), { type: 'string', minLength: 1, description: `A file that holds ${key}; its last newline is not part of it.` }]
  ]
}

const choice = (key: string, least: 'one' | 'none') =>
  least === 'one' ? { oneOf: [{ required: [key] }, { required: [fileSetting(key)] }] } : { not: { required: [key, fileSetting(key)] } }
