import type { settingsSchema } from './schema.ts'
import settings from './settings.json' with { type: 'json' }

/** The schema of `schema.ts` as it was written out: TypeBox itself takes 120 ms and 19 MiB to load, which a start should not pay. */
export const compiledSettings = settings as unknown as typeof settingsSchema
