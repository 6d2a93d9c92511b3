import { globSync } from 'node:fs'
import { join } from 'node:path'

const tests = join(import.meta.dirname, '..')

/**
 * Loads the test files below `test/` that `patterns` match into this process, where their tests run one after another.
 * To start a process costs about a second of CPU time, which is more than most of these files take themselves. A file
 * that replaces something of the whole process, or measures it, gets a process of its own (`test/tools/suite`).
 */
export async function group(...patterns: readonly string[]): Promise<void> {
  const files = globSync(patterns, { cwd: tests }).sort()
  if (files.length === 0) throw new Error(`no test file matches ${patterns.join(' ')}`)
  for (const file of files) await import(join(tests, file))
}
