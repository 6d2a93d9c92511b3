import { join } from 'node:path'
import { startFlags } from '../long/server.ts'

/**
 * What starts the program, as arguments of Node: its sources, or the script that REGISTRY_TEST_SCRIPT names, such as the one that ships,
 * with the flags of `npm start`, without which Node compiles that one anew.
 */
export const program: readonly string[] = [
  ...startFlags,
  process.env['REGISTRY_TEST_SCRIPT'] || join(import.meta.dirname, '../../src/main.ts')
]
