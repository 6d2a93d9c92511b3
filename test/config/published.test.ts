import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { Ajv } from 'ajv'
import { test } from 'tap'
import { parse } from 'yaml'
import { chartFolder, valuesSchema } from '../../build/chart/values-schema.ts'
import { agentSchema } from '../../config/agent/schema.ts'
import { compiledSchema, configSchema } from '../../config/published.ts'
import { isMapping } from '../../config/read/walk.ts'
import { settingsSchema } from '../../config/schema.ts'
import { renderAgentReference, renderSettingsReference } from '../../config/settings-reference.ts'

const config = join(import.meta.dirname, '../../config')
const compile = (text: string) => new Ajv({ allowUnionTypes: true }).compile(JSON.parse(text))
const check = compile(configSchema())
const checkAgent = compile(configSchema(agentSchema))

test('what is derived from the schema is up to date (else: npm run schema)', async t => {
  t.equal(readFileSync(join(config, 'registry.schema.json'), 'utf8'), configSchema())
  t.equal(readFileSync(join(config, 'settings.json'), 'utf8'), compiledSchema())
  t.equal(readFileSync(join(config, '../docs/settings.md'), 'utf8'), renderSettingsReference())
  t.equal(readFileSync(join(config, 'agent.schema.json'), 'utf8'), configSchema(agentSchema))
  t.equal(readFileSync(join(config, 'agent/settings.json'), 'utf8'), compiledSchema(agentSchema))
  t.equal(readFileSync(join(config, '../docs/agent-settings.md'), 'utf8'), renderAgentReference())
  t.equal(readFileSync(join(chartFolder, 'values.schema.json'), 'utf8'), valuesSchema())
})

test('the settings are a valid schema, since a start does not look', async t => {
  const draft = new Ajv()
  for (const schema of [settingsSchema, agentSchema]) t.ok(draft.validateSchema(JSON.parse(compiledSchema(schema))), draft.errorsText())
})

test('the published schema accepts every example, as any validator reads it', async t => {
  for (const name of readdirSync(join(config, 'examples'))) {
    const checked = name === 'agent.yaml' ? checkAgent : check
    t.ok(checked(parse(readFileSync(join(config, 'examples', name), 'utf8'))), name)
  }
})

test('the published schema refuses unknown settings, wrong types and wrong notations', async t => {
  for (const wrong of [
    { x: 1 },
    { server: { listen: 5001 } },
    { server: { drain: '1d' } },
    { limits: { manifestBytes: '4 MiB' } },
    { server: { tls: { key: 'k' } } }
  ]) {
    t.notOk(check(wrong), JSON.stringify(wrong))
  }
})

test('every published setting says what it is for', async t => {
  const undescribed = (schema: unknown, path: string): string[] =>
    isMapping(schema) && isMapping(schema['items']) && schema['items']['type'] === 'object'
      ? undescribed(schema['items'], `${path}[]`)
      : isMapping(schema) && isMapping(schema['properties'])
        ? Object.entries(schema['properties']).flatMap(([key, inside]) => undescribed(inside, `${path}.${key}`))
        : isMapping(schema) && schema['description']
          ? []
          : [path]
  t.same(undescribed(JSON.parse(configSchema()), ''), [])
  t.same(undescribed(JSON.parse(configSchema(agentSchema)), ''), [])
})
