import { isDigest } from './digest.ts'
import { isName, isTag, type Name, type Reference } from './name.ts'

/** A reference as it stands in a pod, in its parts. */
export interface PodReference {
  /** In lower case, with a port where one was written; absent: this registry. */
  host?: string
  name: Name
  reference: Reference
}

/** The text is no reference; the message says what is wrong with it. */
export class MalformedReference extends Error {
  override readonly name = 'MalformedReference'
}

// An image of Docker Hub that names no user is one of the user `library`; every client adds that before it asks.
const hub = 'docker.io'
const hosts = /^([a-z0-9]([a-z0-9.-]*[a-z0-9])?|\[[0-9a-f:.]+\])(:[0-9]{1,5})?$/

/** Reads `[<host>/]<name>[:<tag>][@<digest>]`; without tag and digest it is `latest`, and with both the digest counts. */
export function parsePodReference(text: string): PodReference {
  if (text.includes('://')) throw new MalformedReference('it begins with a scheme; a reference begins with the host')
  const [rest = '', digest, ...more] = text.split('@')
  if (more.length > 0) throw new MalformedReference('it has more than one @')
  if (digest !== undefined && !isDigest(digest)) throw new MalformedReference('what follows the @ is not a digest of sha256 or sha512')
  const { host, path } = splitHost(rest)
  if (host !== undefined && !hosts.test(host)) throw new MalformedReference(`${JSON.stringify(host.slice(0, 100))} is not a host`)
  const colon = path.indexOf(':')
  const name = colon === -1 ? path : path.slice(0, colon)
  const tag = colon === -1 ? 'latest' : path.slice(colon + 1)
  const whole = host === hub && !name.includes('/') ? `library/${name}` : name
  if (!isName(whole)) throw new MalformedReference(nameFault(name))
  if (!isTag(tag)) throw new MalformedReference(`${JSON.stringify(tag)} is not a tag: at most 128 of A-Z a-z 0-9 . _ -`)
  return { ...(host === undefined ? {} : { host }), name: whole, reference: digest === undefined ? { tag } : { digest } }
}

// What comes first is a host if it looks like one and not like the first part of a name; containerd and Docker decide so too.
function splitHost(text: string): { host?: string; path: string } {
  const slash = text.indexOf('/')
  const first = text.slice(0, slash)
  const looksLikeHost = slash > 0 && (/[.:]/.test(first) || first === 'localhost')
  return looksLikeHost ? { host: first.toLowerCase(), path: text.slice(slash + 1) } : { path: text }
}

function nameFault(name: string): string {
  if (name === '') return 'it names no repository'
  if (/[A-Z]/.test(name)) return `the repository ${JSON.stringify(name)} has upper-case letters`
  return `${JSON.stringify(name.slice(0, 100))} is not the name of a repository`
}
