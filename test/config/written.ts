import { mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Test } from 'tap'
import { loadConfig } from '../../config/load.ts'
import { ConfigError, type Fault } from '../../config/read/fault.ts'
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

/** The faults of a file that holds this YAML, each as its line and its rule, or its line, path and expectation. */
export const refused = (t: Test, yaml: string): string[] =>
  faultsOf(() => loaded(t, yaml)).map(({ line, path, expected, rule }) => `${line} ${rule ?? `${path}: ${expected}`}`)

/** An authority's certificate. */
export const authority = `-----BEGIN CERTIFICATE-----
MIIBfjCCASWgAwIBAgIUN1wkaPtxAYdiaxEIoFs0jUb5UbAwCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJYXV0aG9yaXR5MCAXDTI2MTEyMTAwMzc1MloYDzIxMjYxMDI4
MDAzNzUyWjAUMRIwEAYDVQQDDAlhdXRob3JpdHkwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAAQOmKlQT6KJJNYkEPuZ8OU/RNfhg6QwHDfGkcpIxdeAe47sCepTwYBI
n/FOIRArvW1vzv9scmpfG7eN97jy344bo1MwUTAdBgNVHQ4EFgQUyLOoQrWbBl2n
BBYLhcI++MgbD94wHwYDVR0jBBgwFoAUyLOoQrWbBl2nBBYLhcI++MgbD94wDwYD
VR0TAQH/BAUwAwEB/zAKBggqhkjOPQQDAgNHADBEAiAziAJc5x8ec89b8HygceCK
JywUrKvo5jE9C2ruFZ1NmgIgFj7TPpXcUWKXQKYc1HHXbLSZh6bvNINalE34as6B
H+E=
-----END CERTIFICATE-----
`
