import type { TSchema } from 'typebox'
import { stringify } from 'yaml'
import { hideSecrets } from './walk.ts'

/** Settings of any schema as YAML, secrets hidden. */
export const renderSettings = (schema: TSchema, settings: unknown): string =>
  stringify(hideSecrets(schema, settings), { lineWidth: 0, aliasDuplicateObjects: false })
