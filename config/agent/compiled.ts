import type { SettingSchema } from '../read/walk.ts'
import type { agentSchema } from './schema.ts'
import settings from './settings.json' with { type: 'json' }

// Written by `npm run schema`, as `config/settings.json` is.

/** The table of `schema.ts`, typed for the inference of settings. */
export const compiledAgentSettings = settings as unknown as typeof agentSchema

/** The table of `schema.ts`, typed for reading annotations. */
export const agentSettingsTable = settings as unknown as SettingSchema
