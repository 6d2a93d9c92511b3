import { type Finding, formatValue } from './read/fault.ts'
import type { Settings } from './schema.ts'
import { parseProxy } from './values/hosts.ts'

/** Environment variables. */
export type Environment = Readonly<Record<string, string | undefined>>

/** The settings with the proxies of the environment where the file has none. */
export const withProxies = (settings: Settings, env: Environment, findings: Finding[]): Settings => {
  const { registry, upstream } = settings
  // Without an upstream no proxy is used, and a wrong variable must not prevent the start.
  if (registry.mode === 'Local' && Object.keys(registry.upstreams).length === 0) return settings
  const proxy = proxiesOf(env, ['upstream', 'proxy'], findings, upstream.proxy)
  return { ...settings, upstream: { ...upstream, proxy } }
}

/** The proxies of the environment, as far as none are written. */
export const proxiesOf = (
  env: Environment,
  path: readonly string[],
  findings: Finding[],
  written: { http?: string; https?: string; none?: string } = {}
): { http: string; https: string; none: string } => ({
  http: written.http ?? urlIn(env, 'HTTP_PROXY', [...path, 'http'], findings),
  https: written.https ?? urlIn(env, 'HTTPS_PROXY', [...path, 'https'], findings),
  none: written.none ?? variable(env, 'NO_PROXY') ?? ''
})

const urlIn = (env: Environment, name: string, path: string[], findings: Finding[]): string => {
  const url = variable(env, name)
  if (url === undefined || parseProxy(url) !== undefined) return url ?? ''
  findings.push({ path, line: 0, expected: `http(s)://[user:password@]host[:port] in ${name} of the environment`, value: formatValue(url) })
  return ''
}

/** A variable; the lower-case form wins, as in curl. Many launchers set one to an empty text to unset it. */
export const variable = (env: Environment, name: string): string | undefined => env[name.toLowerCase()] || env[name] || undefined

/** Threads of libuv's pool for system calls. It reads `UV_THREADPOOL_SIZE` itself: 4 by default, 1024 at most. */
export const threadPoolSize = (env: Environment = process.env): number => {
  const size = Number(env['UV_THREADPOOL_SIZE'])
  return Number.isInteger(size) && size > 0 ? Math.min(size, 1024) : 4
}
