// What `npm run schema` runs: writes what is derived from the tables of settings and metrics. A test fails when it was
// forgotten.
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { compiledSchema, configSchema } from '../config/published.ts'
import { renderMetricsReference } from '../src/telemetry/metrics-reference.ts'
import { project } from './write.ts'

const write = (path: string, text: string): void => writeFileSync(join(project, path), text)

write('config/settings.json', compiledSchema())
write('config/registry.schema.json', configSchema())
write('docs/metrics.md', renderMetricsReference())
// It reads what was just written.
const { renderSettingsReference } = await import('../config/settings-reference.ts')
write('docs/settings.md', renderSettingsReference())
