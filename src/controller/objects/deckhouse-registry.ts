import { splitImagesRepo, type UpstreamParams } from '../settings/params.ts'
import type { ReplicaParams } from './bashible-config.ts'
import { hashOf } from './hash.ts'
import { names } from './names.ts'

/** The keys of Secret `deckhouse-registry` that the controller writes; all others are left as they are. */
export interface DeckhouseRegistry {
  address: string
  path: string
  scheme: string
  /** PEM, or empty. */
  ca: string
  dockerConfig: string
}

/** How components reach the fixed address. Without a user: anonymously. */
export function managedRegistry({ ca, username, password }: ReplicaParams): DeckhouseRegistry {
  const { host, path } = names
  return { address: host, path, scheme: 'https', ca, dockerConfig: dockerConfig(host, username, password) }
}

/** How components reach a registry outside the cluster. */
export function unmanagedRegistry({ imagesRepo, scheme, ca = '', username, password }: UpstreamParams): DeckhouseRegistry {
  const { address, path } = splitImagesRepo(imagesRepo)
  return { address, path, scheme, ca, dockerConfig: dockerConfig(address, username, password) }
}

/** The registry that a Secret `deckhouse-registry` names, as the upstream of Unmanaged; undefined if it names none. */
export function upstreamOfRegistry({ address, path, scheme, ca, dockerConfig }: DeckhouseRegistry): UpstreamParams | undefined {
  if (address === '') return undefined
  const { username, password } = credentialsIn(dockerConfig, address)
  return {
    imagesRepo: address + path,
    scheme: scheme.toLowerCase() === 'http' ? 'http' : 'https',
    username,
    password,
    ...(ca ? { ca } : {})
  }
}

/** What the pods of Deckhouse report in their annotation once they use it. */
export function hashOfRegistry({ address, path, scheme, ca, dockerConfig }: DeckhouseRegistry): string {
  const docker = Buffer.from(dockerConfig).toString('base64')
  return hashOf({ address, path, scheme, ...(ca === '' ? {} : { ca }), '.dockerconfigjson': docker })
}

/** Whether two Secrets lead components to the same registry in the same way. */
export function isSameRegistry(a: DeckhouseRegistry | undefined, b: DeckhouseRegistry): boolean {
  return a !== undefined && hashOfRegistry(a) === hashOfRegistry(b)
}

// An entry with an empty `auth` breaks clients of an anonymous registry.
function dockerConfig(host: string, username: string, password: string): string {
  const auth = Buffer.from(`${username}:${password}`).toString('base64')
  return JSON.stringify({ auths: { [host]: username === '' ? {} : { auth } } })
}

/** Finds a host's user in a docker config, by `auth` or by `username` and `password`; empty texts if there is none. */
export function credentialsIn(config: string, host: string): { username: string; password: string } {
  const nothing = { username: '', password: '' }
  let found: { auth?: unknown; username?: unknown; password?: unknown } | undefined
  try {
    found = (JSON.parse(config) as { auths?: Record<string, typeof found> }).auths?.[host]
  } catch {
    return nothing
  }
  if (typeof found?.username === 'string' && typeof found.password === 'string')
    return { username: found.username, password: found.password }
  if (typeof found?.auth !== 'string') return nothing
  const text = Buffer.from(found.auth, 'base64').toString()
  const colon = text.indexOf(':')
  return colon === -1 ? nothing : { username: text.slice(0, colon), password: text.slice(colon + 1) }
}
