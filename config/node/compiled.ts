import type { wantedSchema } from './schema.ts'
import settings from './settings.json' with { type: 'json' }

// Written by `npm run schema`, as `config/settings.json` is.

/** The table of `schema.ts`, typed for the inference of settings. */
export const compiledWanted = settings as unknown as typeof wantedSchema
