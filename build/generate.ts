// What `npm run schema` runs: writes what is derived from the tables of settings and metrics. A test fails when it was
// forgotten.
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { agentSchema } from '../config/agent/schema.ts'
import { wantedSchema } from '../config/node/schema.ts'
import { compiledSchema, configSchema } from '../config/published.ts'
import { renderMetricsReference } from '../src/telemetry/metrics-reference.ts'
import { chartFolder, valuesSchema } from './chart/values-schema.ts'
import { project } from './write.ts'

const write = (path: string, text: string): void => writeFileSync(join(project, path), text)

write('config/settings.json', compiledSchema())
write('config/registry.schema.json', configSchema())
write('config/agent/settings.json', compiledSchema(agentSchema))
write('config/agent.schema.json', configSchema(agentSchema))
write('config/node/settings.json', compiledSchema(wantedSchema))
write('docs/metrics.md', renderMetricsReference())
writeFileSync(join(chartFolder, 'values.schema.json'), valuesSchema())
// It reads what was just written.
const { renderAgentReference, renderSettingsReference } = await import('../config/settings-reference.ts')
write('docs/settings.md', renderSettingsReference())
write('docs/agent-settings.md', renderAgentReference())
