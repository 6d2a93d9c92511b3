import { readFile } from 'node:fs/promises'
import type { AgentConfig } from '../../config/agent/load.ts'
import type { Config } from '../../config/schema.ts'
import type { Address } from '../../config/values/units.ts'
import { formatAddress } from '../../config/values/units.ts'
import { describePlan } from '../containerd/describe.ts'
import { type RenderOptions, renderHosts } from '../containerd/hosts.ts'
import { type HostsPlan, install, restore } from '../containerd/install.ts'
import {
  agentMirror,
  type Flavor,
  hostsOfMode,
  type Mirror,
  type MirrorCredentials,
  type MirrorUpstream,
  type RegistryHost,
  replicaMirrors,
  transition
} from '../containerd/mirrors.ts'
import type { OwnedDirectory } from '../install/owned.ts'

/** The options of `containerd hosts` and `containerd install` as the command line gives them. */
export interface HostsOptions {
  format: Flavor
  /** The configuration before a change: its mirrors come first. */
  from?: Config
  oldest?: string
  dialTimeout?: string
  leaving?: 'refused' | 'allowed'
  /** `host:port` at which a node reaches this registry. */
  mirror?: string
  /** The address of the agent on the node: the one mirror, whatever the mode is. */
  agent?: string
  /** The address of each replica, for a node without an agent; `local` is that of the node itself. */
  replica?: string[]
  local?: string
  /** The names that lead there, in place of those in the configuration; for an agent or replicas alone. */
  host?: string[]
  /** A file with the authority of this registry's certificate. */
  ca?: string
  username?: string
  passwordFile?: string
}

/** The files that a node's containerd needs for a configuration. */
export async function hostDirectories(config: Config, options: HostsOptions): Promise<OwnedDirectory[]> {
  return renderHosts(await registryHosts(config, options), renderOptions(options))
}

/** The files that a node's containerd needs for its agent, to which the names of all routes lead. */
export async function agentDirectories({ agent }: AgentConfig, options: HostsOptions): Promise<OwnedDirectory[]> {
  const { host = agent.routes.flatMap(({ names }) => names) } = options
  const foreign = (['mirror', 'replica', 'local', 'from'] as const).find(each => options[each] !== undefined)
  if (foreign) throw new Error(`--config names the configuration of an agent: --${foreign} has no place beside it`)
  const address = options.agent ?? `${agent.tls ? 'https' : 'http'}://${reachedAt(agent.listen)}`
  const mirror = agentMirror(address, { ...(agent.clients ? { auth: agent.clients } : {}), ...(await accessOf(options)) })
  return renderHosts(
    [...new Set(host)].map(name => ({ host: name, mirrors: [mirror] })),
    renderOptions(options)
  )
}

function renderOptions({ format, oldest, dialTimeout, leaving, replica }: HostsOptions): RenderOptions {
  // A replica that is switched off costs each request the time of a connection attempt, by default 30 s.
  const dial = dialTimeout ?? (replica ? '1s' : undefined)
  return {
    containerd: format,
    ...(oldest === undefined ? {} : { oldest }),
    ...(dial === undefined ? {} : { dialTimeout: dial }),
    ...(leaving === undefined ? {} : { leaving })
  }
}

async function registryHosts(config: Config, options: HostsOptions): Promise<RegistryHost[]> {
  const { format, from, host } = options
  const access = await accessOf(options)
  const fixed = fixedMirrors(options, access)
  if (fixed)
    return (host ?? [...config.server.names, ...Object.keys(config.registry.upstreams)]).map(name => ({ host: name, mirrors: fixed }))
  if (host) throw new Error('--host: expected --agent or --replica beside it, which say where the names lead')
  const next = hostsOf(config, format, access)
  return from ? transition(hostsOf(from, format, access), next) : next
}

// What stays as it is when the mode changes.
function fixedMirrors({ agent, replica, local }: HostsOptions, { ca, auth }: Access): Mirror[] | undefined {
  const access = { ...(ca === undefined ? {} : { ca }), ...(auth ? { auth } : {}) }
  if (agent !== undefined) return [agentMirror(agent, access)]
  if (!replica) {
    if (local !== undefined) throw new Error('--local names one of the replicas: expected --replica with all of them')
    return undefined
  }
  if (local !== undefined && !replica.includes(local)) throw new Error(`--local ${local}: expected one of ${replica.join(', ')}`)
  return replicaMirrors(
    replica.map(address => ({ address, local: address === local })),
    access
  )
}

/** The files as one text, each below its name. */
export function printed(directories: readonly OwnedDirectory[]): string {
  const files = directories.flatMap(({ name, files }) => files.map(file => `# ${name}/${file.name}\n${file.text}`))
  return files.join('\n')
}

/** Writes the files below containerd's directory; resolves to the changes as text. With `plan` it only plans them. */
export async function installHosts(directories: readonly OwnedDirectory[], root: string, only?: 'plan'): Promise<string> {
  return describe(await install(directories, { root, ...(only ? { only } : {}) }), only)
}

/** Restores the files that the first install replaced. */
export async function restoreHosts(root: string, only?: 'plan'): Promise<string> {
  return describe(await restore({ root, ...(only ? { only } : {}) }), only)
}

function describe(plan: HostsPlan, only: 'plan' | undefined): string {
  const text = describePlan(plan)
  if (text === '') return `nothing to change in ${plan.root}\n`
  return only ? `${text}this is what would be done, and nothing was\n` : text
}

type Access = Pick<Mirror, 'ca' | 'auth'> & { host?: string }

async function accessOf({ mirror, ca, username, passwordFile }: HostsOptions): Promise<Access> {
  const auth = await credentialsOf(username, passwordFile)
  return {
    ...(mirror === undefined ? {} : { host: mirror }),
    ...(ca === undefined ? {} : { ca: await readFile(ca, 'utf8') }),
    ...(auth ? { auth } : {})
  }
}

async function credentialsOf(username: string | undefined, passwordFile: string | undefined): Promise<MirrorCredentials | undefined> {
  if (username === undefined && passwordFile === undefined) return undefined
  if (username === undefined || passwordFile === undefined) throw new Error('--username and --password-file go together')
  return { username, password: (await readFile(passwordFile, 'utf8')).replace(/\r?\n$/, '') }
}

function hostsOf(config: Config, containerd: Flavor, access: Access): RegistryHost[] {
  const { mode, upstream, upstreams } = config.registry
  const { names, path } = config.server
  const registry = registryOf(config, access)
  const behind = upstream ? { upstream: upstreamOf(upstream) } : {}
  const own = names.flatMap(host => hostsOfMode({ mode, containerd, registry, host, path, ...behind }))
  // containerd sends the host as `ns=`, by which this registry finds the upstream.
  const further = Object.keys(upstreams).map(host => ({ host, mirrors: [registry] }))
  return [...own, ...further]
}

const everywhere: ReadonlySet<string> = new Set(['0.0.0.0', '::'])

function registryOf({ server }: Config, { host, ...access }: Access): Mirror {
  const { listen, tls } = server
  return { host: host ?? reachedAt(listen), scheme: tls ? 'https' : 'http', ...access }
}

const reachedAt = ({ host, port }: Address): string => formatAddress({ host: everywhere.has(host) ? '127.0.0.1' : host, port })

// The endpoint is the host that is dialled: for docker.io another one.
function upstreamOf({ host: named, path, endpoints, credentials, ca }: NonNullable<Config['registry']['upstream']>): MirrorUpstream {
  const host = endpoints[0] === undefined ? named : new URL(endpoints[0]).host
  return {
    imagesRepo: path === '' ? host : `${host}/${path}`,
    scheme: endpoints.some(each => each.startsWith('http:')) ? 'HTTP' : 'HTTPS',
    ...credentials,
    ...(ca === undefined ? {} : { ca })
  }
}
