import { Ajv, type ErrorObject } from 'ajv'
import type { Static, TSchema } from 'typebox'
import type { Annotations } from '../sections/kinds.ts'
import { codecOf } from '../values/codecs.ts'
import { type Finding, formatValue, type Path } from './fault.ts'
import { expectedInstead, nearest } from './near.ts'
import { presentPart } from './present.ts'
import { holdsSecret, isMapping, type SettingSchema, schemaInside } from './walk.ts'

// A test validates our schema. Doing it here, and optimizing a validator that runs once, would cost each start 40 ms.
const once = { meta: false, validateSchema: false, code: { optimize: false } } as const
const ajv = new Ajv({ allErrors: true, useDefaults: true, verbose: true, allowUnionTypes: true, ...once })
ajv.addVocabulary(['expects', 'atLeast', 'atMost', 'reload', 'refuses', 'secret', 'orFile', 'hides'])
ajv.addKeyword({
  keyword: 'unit',
  errors: false,
  validate: (unit: Annotations['unit'], value: unknown, schema?: Annotations) => fits(unit, value, schema ?? {})
})

/** Fills the defaults into `value` and adds its faults by the schema to `findings`; true if there are none. */
export const validate = <T extends TSchema>(schema: T, value: unknown, findings: Finding[]): value is Static<T> => {
  const root: SettingSchema = schema
  const check = ajv.compile<Static<T>>(presentPart(root, value))
  if (check(value)) return true
  const byPath = new Map<string, Finding>()
  for (const error of check.errors ?? []) {
    const finding = error.propertyName === undefined || error.keyword === 'propertyNames' ? describe(root, error) : undefined
    const key = JSON.stringify(finding?.path)
    // A value of the wrong type breaks further rules; only the first is reported.
    if (finding && !byPath.has(key)) byPath.set(key, finding)
  }
  findings.push(...byPath.values())
  return false
}

const fits = (unit: Annotations['unit'], value: unknown, { atLeast = 0, atMost = Number.MAX_SAFE_INTEGER }: Annotations): boolean => {
  if (!unit || (typeof value !== 'string' && typeof value !== 'number')) return true
  const parsed = codecOf(unit).parse(String(value), '/')
  return typeof parsed === 'number' ? parsed >= atLeast && parsed <= atMost : parsed !== undefined
}

const describe = (root: SettingSchema, error: ErrorObject): Finding => {
  const path = pathOf(root, error.instancePath)
  const parent = isSchema(error.parentSchema) ? error.parentSchema : {}
  const params: Record<string, unknown> = error.params
  // Values of unknown settings are not printed: the setting may be a misspelt secret.
  if (error.keyword === 'additionalProperties') {
    const key = String(params['additionalProperty'])
    return { path: [...path, key], expected: expectedInstead(root, parent, key) }
  }
  if (error.keyword === 'required') {
    const key = String(params['missingProperty'])
    return { path: [...path, key], expected: `${schemaInside(parent, key)?.expects ?? 'a value'}; it is missing` }
  }
  if (error.keyword === 'propertyNames') {
    const key = String(params['propertyName'])
    return { path: [...path, key], expected: expectsOf(error.schema) ?? 'another key' }
  }
  const expected = refusal(parent, params['allowedValues'], error.data) ?? parent.expects ?? error.message ?? 'another value'
  return holdsSecret(parent) || parent.unit === 'certificates' ? { path, expected } : { path, expected, value: formatValue(error.data) }
}

const refusal = ({ expects, refuses, secret }: SettingSchema, allowed: unknown, value: unknown): string | undefined => {
  if (typeof value !== 'string' || !Array.isArray(allowed) || secret) return undefined
  if (refuses && Object.hasOwn(refuses, value)) return `${expects}; ${refuses[value]}`
  const near = nearest(allowed.map(String), value)
  return near && `${expects} (did you mean ${near}?)`
}

const isSchema = (value: unknown): value is SettingSchema => isMapping(value)

const expectsOf = (schema: unknown): string | undefined => (isSchema(schema) ? schema.expects : undefined)

// A JSON pointer does not distinguish an index from a key; the schema does.
const pathOf = (root: SettingSchema, pointer: string): Path => {
  const path: (string | number)[] = []
  let schema: SettingSchema | undefined = root
  for (const part of pointer.split('/').slice(1)) {
    const key: string | number = schema?.items ? Number(part) : part.replaceAll('~1', '/').replaceAll('~0', '~')
    path.push(key)
    schema = schema && schemaInside(schema, key)
  }
  return path
}
