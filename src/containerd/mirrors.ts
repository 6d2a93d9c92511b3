import { checkHost, checkPath } from './values.ts'

/** Stock containerd, or Deckhouse's, which is patched to rewrite paths and to send credentials. */
export type Flavor = 'stock' | 'deckhouse'

/** A user and password, sent as Basic authorization. */
export interface MirrorCredentials {
  username: string
  password: string
}

/** A repository prefix that Deckhouse's containerd replaces in a request to a mirror; `from` is a regexp. */
export interface Rewrite {
  from: string
  to: string
}

/** A registry that containerd uses in place of the one in the reference. */
export interface Mirror {
  /** `host` or `host:port` */
  host: string
  scheme: 'http' | 'https'
  /** CA certificates in PEM, trusted in addition to the node's own. */
  ca?: string
  auth?: MirrorCredentials
  rewrites?: readonly Rewrite[]
}

/** The mirrors of one registry host, in the order in which containerd tries them; `_default` is every other host. */
export interface RegistryHost {
  host: string
  mirrors: readonly Mirror[]
}

/** The upstream as the settings `registry.direct` and `registry.proxy` name it. */
export interface MirrorUpstream {
  imagesRepo: string
  scheme?: 'HTTP' | 'HTTPS' | undefined
  license?: string | undefined
  username?: string | undefined
  password?: string | undefined
  ca?: string | undefined
}

/** The settings that determine the mirrors of a node. */
export interface ModeSettings {
  mode: 'Unmanaged' | 'Direct' | 'Proxy' | 'Local'
  containerd: Flavor
  /** Needed in Unmanaged, and in Direct on Deckhouse's containerd. */
  upstream?: MirrorUpstream
  /** This registry as the node reaches it; default `https://127.0.0.1:5001` without CA and credentials. */
  registry?: Partial<Omit<Mirror, 'rewrites'>>
  /** The registry host of the references; default `registry.d8-system.svc:5001`. */
  host?: string
  /** The repository prefix of the references; default `system/deckhouse`. */
  path?: string
}

/** A replica as a node reaches it; the local one runs on that node. */
export interface Replica {
  /** `host` or `host:port`, with TLS unless `http://` stands before it. */
  address: string
  local?: boolean
}

const licenseUser = 'license-token'

/**
 * The registry hosts of a mode. In Direct, stock containerd is sent to this registry, since it cannot rewrite a path;
 * Deckhouse's is sent to the upstream.
 */
export function hostsOfMode(settings: ModeSettings): RegistryHost[] {
  const { mode, containerd, host = 'registry.d8-system.svc:5001', path = 'system/deckhouse' } = settings
  checkPath('path', `/${path}`)
  if (mode === 'Unmanaged') {
    const { mirror } = upstreamOf(settings)
    return [{ host: mirror.host, mirrors: [mirror] }]
  }
  if (mode === 'Direct' && containerd === 'deckhouse') {
    const { mirror, repository } = upstreamOf(settings)
    return [{ host, mirrors: [{ ...mirror, rewrites: [{ from: `^${path}`, to: repository }] }] }]
  }
  return [{ host, mirrors: [{ host: '127.0.0.1:5001', scheme: 'https', ...settings.registry }] }]
}

/**
 * The agent of a node: its one mirror in every mode, since the agent maps paths and finds the replicas. The address is
 * `host` or `host:port`, with TLS unless `http://` stands before it.
 */
export function agentMirror(address: string, access: Pick<Mirror, 'ca' | 'auth'> = {}): Mirror {
  return mirrorAt('agent', address, access)
}

/** The replicas as mirrors of a node without an agent, in the order in which they are tried: the local ones first. */
export function replicaMirrors(replicas: readonly Replica[], access: Pick<Mirror, 'ca' | 'auth'> = {}): Mirror[] {
  if (replicas.length === 0) throw new Error('replicas: expected at least one')
  const ordered = [...replicas.filter(({ local }) => local), ...replicas.filter(({ local }) => !local)]
  return ordered.map(({ address }) => mirrorAt('replica', address, access))
}

function mirrorAt(where: string, address: string, access: Pick<Mirror, 'ca' | 'auth'>): Mirror {
  const [, scheme, host = address] = /^(https?):\/\/(.*)$/s.exec(address) ?? []
  checkHost(where, host)
  return { host, scheme: scheme === 'http' ? 'http' : 'https', ...access }
}

/**
 * Merges the mirrors before and after a change: the old ones first, then the new ones. A mirror in both (same scheme
 * and host) keeps its old position with its new settings.
 */
export function transition(old: readonly RegistryHost[], next: readonly RegistryHost[]): RegistryHost[] {
  const merged = new Map<string, Map<string, Mirror>>()
  for (const { host, mirrors } of [...old, ...next]) {
    const known = merged.get(host) ?? new Map<string, Mirror>()
    for (const mirror of mirrors) known.set(urlOf(mirror), mirror)
    merged.set(host, known)
  }
  return [...merged].map(([host, mirrors]) => ({ host, mirrors: [...mirrors.values()] }))
}

/** The key of a mirror in `hosts.toml`. */
export function urlOf({ scheme, host }: Mirror): string {
  return `${scheme}://${host}`
}

function upstreamOf({ mode, upstream }: ModeSettings): { mirror: Mirror; repository: string } {
  if (upstream === undefined) throw new Error(`upstream: expected in mode ${mode}`)
  const repo = upstream.imagesRepo.trim().replace(/\/+$/, '')
  const slash = repo.indexOf('/')
  const [host, repository] = slash === -1 ? [repo, ''] : [repo.slice(0, slash), repo.slice(slash)]
  checkHost('upstream.imagesRepo', host)
  checkPath('upstream.imagesRepo', repository)
  const mirror: Mirror = { host, scheme: upstream.scheme === 'HTTP' ? 'http' : 'https' }
  if (upstream.ca) mirror.ca = upstream.ca
  const auth = credentialsOf(upstream)
  if (auth) mirror.auth = auth
  return { mirror, repository: repository.slice(1) }
}

function credentialsOf({ license, username, password }: MirrorUpstream): MirrorCredentials | undefined {
  if (license) return { username: licenseUser, password: license }
  return username ? { username, password: password ?? '' } : undefined
}
