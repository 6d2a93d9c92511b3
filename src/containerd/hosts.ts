import { stringify } from 'smol-toml'
import type { OwnedDirectory, OwnedFile } from '../install/owned.ts'
import type { Flavor, Mirror, MirrorCredentials, RegistryHost } from './mirrors.ts'
import { urlOf } from './mirrors.ts'
import { checkCa, checkDuration, checkHost, checkPassword, checkPath, checkRegex, checkUsername } from './values.ts'

/** An operation that containerd may send to a mirror. */
export type Capability = 'pull' | 'resolve' | 'push' | 'referrers'

/** The containerd that will read the files. */
export interface RenderOptions {
  containerd: Flavor
  /** The oldest containerd that reads them; default `1.6`. One that meets an unknown key rejects the whole file. */
  oldest?: string
  /** Default `pull` and `resolve`; `referrers` is left out for a containerd before 2.2. */
  capabilities?: readonly Capability[]
  /** Timeout of a connection attempt, as a Go duration; left out for a containerd before 2.0. */
  dialTimeout?: string
  /** Whether stock containerd may fall back to the reference's own host after the last mirror; default `refused`. */
  leaving?: 'refused' | 'allowed'
}

/** The file that containerd reads in a host's directory. */
export const hostsFile = 'hosts.toml'

const note = '# Written by the registry: the next install overwrites changes, restore brings back what stood here before.\n'
const everyOtherHost = '_default'

/**
 * Renders a directory per registry host: hosts.toml with the host's mirrors, and their CA files.
 * Throws on the first value that is not safe to write on a node.
 */
export function renderHosts(hosts: readonly RegistryHost[], options: RenderOptions): OwnedDirectory[] {
  unique(
    'hosts',
    hosts.map(({ host }) => host)
  )
  if (options.dialTimeout !== undefined) checkDuration('dialTimeout', options.dialTimeout)
  return hosts.map(entry => {
    check(entry, options.containerd)
    const secret = entry.mirrors.some(({ auth }) => auth)
    const toml: OwnedFile = { name: hostsFile, text: note + renderToml(entry.mirrors, options), mode: secret ? 0o600 : 0o644 }
    return { name: entry.host, files: [...entry.mirrors.flatMap(caFile), toml] }
  })
}

function renderToml(mirrors: readonly Mirror[], options: RenderOptions): string {
  const remaining = [...mirrors]
  let top: object = {}
  // containerd tries the reference's host last, unless `server` names another. The top-level keys are that server's:
  // with a table of its own as well it would be tried twice, the second time without CA and credentials.
  if (options.containerd === 'stock' && options.leaving !== 'allowed') {
    const last = remaining.pop()
    if (last) top = { server: urlOf(last), ...keys(last, options) }
  }
  const tables = Object.fromEntries(remaining.map(mirror => [urlOf(mirror), keys(mirror, options)]))
  // containerd rejects a file without a `host` table, even an empty one.
  const parts = [stringify(top), '[host]\n', remaining.length > 0 ? stringify({ host: tables }) : '']
  return parts.filter(part => part.trim() !== '').join('\n')
}

function keys(mirror: Mirror, options: RenderOptions): object {
  const { auth, rewrites = [] } = mirror
  const patched = options.containerd === 'deckhouse'
  return {
    capabilities: capabilities(options),
    ...(mirror.scheme === 'http' ? { skip_verify: true } : {}),
    ...(mirror.ca === undefined ? {} : { ca: [caName(mirror)] }),
    ...(options.dialTimeout !== undefined && isAtLeast(options, 2, 0) ? { dial_timeout: options.dialTimeout } : {}),
    ...(auth && !patched ? { header: { Authorization: `Basic ${base64(auth)}` } } : {}),
    ...(auth && patched ? { auth: { auth: base64(auth) } } : {}),
    ...(rewrites.length > 0 ? { rewrite: rewrites.map(({ from, to }) => ({ regex: from, replace: to })) } : {})
  }
}

function capabilities(options: RenderOptions): Capability[] {
  const { capabilities: wanted = ['pull', 'resolve'] } = options
  const known = wanted.filter(each => each !== 'referrers' || isAtLeast(options, 2, 2))
  // To containerd an empty list means every capability.
  if (known.length === 0) throw new Error('capabilities: expected at least one of pull, resolve and push')
  return known
}

function isAtLeast({ oldest = '1.6' }: RenderOptions, major: number, minor: number): boolean {
  const found = /^v?(\d+)\.(\d+)/.exec(oldest)
  if (!found) throw new Error(`oldest: expected a version of containerd such as 1.7, found ${JSON.stringify(oldest)}`)
  const [oldestMajor, oldestMinor] = [Number(found[1]), Number(found[2])]
  return oldestMajor > major || (oldestMajor === major && oldestMinor >= minor)
}

// Relative to the host's directory, which may be mounted at another path on the node.
function caName({ scheme, host }: Mirror): string {
  return `${scheme}-${host}-ca.crt`
}

function caFile(mirror: Mirror): OwnedFile[] {
  return mirror.ca === undefined ? [] : [{ name: caName(mirror), text: `${mirror.ca.trim()}\n`, mode: 0o644 }]
}

function base64({ username, password }: MirrorCredentials): string {
  return Buffer.from(`${username}:${password}`).toString('base64')
}

/** Throws unless the value is a host, maybe with a port, or `_default`. */
export function checkRegistryHost(where: string, host: string): void {
  if (host !== everyOtherHost) checkHost(where, host)
}

function check({ host, mirrors }: RegistryHost, flavor: Flavor): void {
  checkRegistryHost('host', host)
  if (mirrors.length === 0) throw new Error(`${host}: expected at least one mirror`)
  unique(`${host}: mirrors`, mirrors.map(urlOf))
  for (const mirror of mirrors) checkMirror(`${host}: mirror ${JSON.stringify(mirror.host)}`, mirror, flavor)
}

function checkMirror(where: string, { host, scheme, ca, auth, rewrites = [] }: Mirror, flavor: Flavor): void {
  checkHost(where, host)
  if (scheme !== 'http' && scheme !== 'https') throw new Error(`${where}: expected the scheme http or https`)
  if (ca !== undefined) {
    if (scheme === 'http') throw new Error(`${where}: a CA is of no use with http`)
    checkCa(`${where}: ca`, ca)
  }
  if (auth) {
    checkUsername(`${where}: username`, auth.username)
    checkPassword(`${where}: password`, auth.password)
  }
  if (rewrites.length > 0 && flavor === 'stock') throw new Error(`${where}: stock containerd cannot rewrite a path`)
  for (const { from, to } of rewrites) {
    checkRegex(`${where}: rewrite`, from)
    checkPath(`${where}: rewrite`, to === '' ? '' : `/${to}`)
  }
}

function unique(where: string, values: readonly string[]): void {
  const twice = values.find((value, index) => values.indexOf(value) !== index)
  if (twice !== undefined) throw new Error(`${where}: ${JSON.stringify(twice)} stands there twice`)
}
