import { mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Test } from 'tap'
import { ConfigError, type Fault } from '../../config/fault.ts'
import { loadConfig } from '../../config/load.ts'
import type { Config } from '../../config/schema.ts'

/** A new directory that goes away with the test; short, for a Unix socket to fit in it. */
export const folder = (t: Test): string => {
  const made = realpathSync(mkdtempSync(join(tmpdir(), 'config-')))
  t.teardown(() => rmSync(made, { recursive: true }))
  return made
}

/** The configuration of a file that holds this YAML. */
export const loaded = (t: Test, yaml: string): Config => {
  const cwd = folder(t)
  writeFileSync(join(cwd, 'registry.yaml'), yaml)
  return loadConfig({ file: 'registry.yaml', cwd, env: {} })
}

/** The faults of what must fail. */
export const faultsOf = (fail: () => unknown): readonly Fault[] => {
  try {
    fail()
  } catch (error) {
    if (error instanceof ConfigError) return error.faults
    throw error
  }
  throw new Error('nothing was refused')
}

/** The faults of a file that holds this YAML, each as its line, path and expectation. */
export const refused = (t: Test, yaml: string): string[] =>
  faultsOf(() => loaded(t, yaml)).map(({ line, path, expected }) => `${line} ${path}: ${expected}`)
