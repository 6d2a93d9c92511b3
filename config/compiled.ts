import type { SettingSchema } from './read/walk.ts'
import type { settingsSchema } from './schema.ts'
import settings from './settings.json' with { type: 'json' }

// `npm run schema` wrote it. TypeBox itself takes 120 ms and 19 MiB to load, which a start should not pay.

/** The table of `schema.ts`, as the type that validation infers the settings from. */
export const compiledSettings = settings as unknown as typeof settingsSchema

/** The same table, with its annotations. */
export const settingsTable = settings as unknown as SettingSchema
