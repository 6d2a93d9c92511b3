import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { Ajv } from 'ajv'
import { test } from 'tap'
import { parse } from 'yaml'
import { compiledSchema, configSchema } from '../../config/published.ts'
import { isMapping } from '../../config/read/walk.ts'
import { renderSettingsReference } from '../../config/settings-reference.ts'

const config = join(import.meta.dirname, '../../config')
const check = new Ajv({ allowUnionTypes: true }).compile(JSON.parse(configSchema()))

test('what is derived from the schema is up to date (else: npm run schema)', async t => {
  t.equal(readFileSync(join(config, 'registry.schema.json'), 'utf8'), configSchema())
  t.equal(readFileSync(join(config, 'settings.json'), 'utf8'), compiledSchema())
  t.equal(readFileSync(join(config, '../docs/settings.md'), 'utf8'), renderSettingsReference())
})

test('the settings are a valid schema, since a start does not look', async t => {
  const draft = new Ajv()
  t.ok(draft.validateSchema(JSON.parse(compiledSchema())), draft.errorsText())
})

test('the published schema accepts every example, as any validator reads it', async t => {
  for (const name of readdirSync(join(config, 'examples'))) {
    t.ok(check(parse(readFileSync(join(config, 'examples', name), 'utf8'))), name)
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
    isMapping(schema) && isMapping(schema['properties'])
      ? Object.entries(schema['properties']).flatMap(([key, inside]) => undescribed(inside, `${path}.${key}`))
      : isMapping(schema) && schema['description']
        ? []
        : [path]
  t.same(undescribed(JSON.parse(configSchema()), ''), [])
})
