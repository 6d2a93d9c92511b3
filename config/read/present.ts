import { isMapping, type SettingSchema } from './walk.ts'

/**
 * The part of a schema that a value needs: of settings that it does not have nothing but their defaults, which a test
 * validates. To compile the rest would take a good part of each start.
 */
export const presentPart = (schema: SettingSchema, value: unknown): SettingSchema => {
  const { properties, ...rest } = schema
  if (!properties || !isMapping(value)) return schema
  const parts = Object.entries(properties).map(([key, inside]) => [key, part(inside, value, key)] as const)
  return { ...rest, properties: Object.fromEntries(parts) }
}

const part = (inside: SettingSchema, value: Record<string, unknown>, key: string): SettingSchema => {
  if (Object.hasOwn(value, key)) return presentPart(inside, value[key])
  // What is expected is said where the setting is required.
  if (inside.default === undefined) return inside.expects === undefined ? {} : { expects: inside.expects }
  // The default of a section is empty, and filled by those of its settings.
  return inside.properties ? presentPart(inside, {}) : { default: inside.default }
}
