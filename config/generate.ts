// Writes what is derived from schema.ts; `npm run schema` runs it, and a test fails when it was forgotten.
import { writeFileSync } from 'node:fs'
import { compiledSchema, configSchema } from './published.ts'

writeFileSync(new URL('settings.json', import.meta.url), compiledSchema())
writeFileSync(new URL('registry.schema.json', import.meta.url), configSchema())
