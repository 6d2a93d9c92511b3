import type { SettingSchema } from './read/walk.ts'
import type { settingsSchema } from './schema.ts'
import settings from './settings.json' with { type: 'json' }

// Written by `npm run schema`: loading TypeBox itself would cost each start 120 ms and 19 MiB.

/** The table of `schema.ts`, typed for the inference of `Settings`. */
export const compiledSettings = settings as unknown as typeof settingsSchema

/** The table of `schema.ts`, typed for reading annotations. */
export const settingsTable = settings as unknown as SettingSchema
