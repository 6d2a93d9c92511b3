import { checkHost, checkPath } from './values.ts'

/** Whose containerd reads the files: the one everybody has, or the one that Deckhouse patched to rewrite paths and to send credentials. */
export type Flavor = 'stock' | 'deckhouse'

/** A user and password, sent as Basic authorization. */
export interface MirrorCredentials {
  username: string
  password: string
}

/** A repository prefix that the patched containerd replaces before it asks a mirror: `from` is a regular expression. */
export interface Rewrite {
  from: string
  to: string
}

/** A registry that containerd asks instead of the one in the reference. */
export interface Mirror {
  /** `host` or `host:port` */
  host: string
  scheme: 'http' | 'https'
  /** Certificates in PEM that are trusted beside the node's own. */
  ca?: string
  auth?: MirrorCredentials
  rewrites?: readonly Rewrite[]
}

/** The mirrors of one registry host, in the order in which they are asked; the host `_default` stands for every other. */
export interface RegistryHost {
  host: string
  mirrors: readonly Mirror[]
}

/** An upstream as the settings `registry.direct` and `registry.proxy` name it. */
export interface MirrorUpstream {
  imagesRepo: string
  scheme?: 'HTTP' | 'HTTPS' | undefined
  license?: string | undefined
  username?: string | undefined
  password?: string | undefined
  ca?: string | undefined
}

/** What decides about the mirrors of a node. */
export interface ModeSettings {
  mode: 'Unmanaged' | 'Direct' | 'Proxy' | 'Local'
  containerd: Flavor
  /** Needed in Unmanaged, and in Direct on Deckhouse's containerd. */
  upstream?: MirrorUpstream
  /** This registry as the node reaches it; `https://127.0.0.1:5001` without CA and credentials where nothing else is said. */
  registry?: Partial<Omit<Mirror, 'rewrites'>>
  /** The registry host of the references; `registry.d8-system.svc:5001`. */
  host?: string
  /** The repository prefix of the references; `system/deckhouse`. */
  path?: string
}

const licenseUser = 'license-token'

/**
 * The registry hosts of a mode. Stock containerd cannot rewrite a path, so in Direct it comes to this registry, which does; Deckhouse's goes to the upstream
 * itself.
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

/** Old and new side by side: every old mirror first, then the new; a mirror of both (same scheme and host) is the new one in the old one's place. */
export function transition(old: readonly RegistryHost[], next: readonly RegistryHost[]): RegistryHost[] {
  const merged = new Map<string, Map<string, Mirror>>()
  for (const { host, mirrors } of [...old, ...next]) {
    const known = merged.get(host) ?? new Map<string, Mirror>()
    for (const mirror of mirrors) known.set(urlOf(mirror), mirror)
    merged.set(host, known)
  }
  return [...merged].map(([host, mirrors]) => ({ host, mirrors: [...mirrors.values()] }))
}

/** What `hosts.toml` calls a mirror. */
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
