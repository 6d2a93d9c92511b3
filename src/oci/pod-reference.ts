import { isDigest } from './digest.ts'
import { isName, isTag, type Name, type Reference } from './name.ts'

/** An image reference of a pod, parsed. */
export interface PodReference {
  /** In lower case, with the port if there is one; absent: this registry. */
  host?: string
  name: Name
  reference: Reference
}

/** A malformed reference; the message says why. */
export class MalformedReference extends Error {
  override readonly name = 'MalformedReference'
}

// Clients add `library/` to an image of Docker Hub without a user.
const hub = 'docker.io'
// Matched before `toLowerCase`, which makes an ASCII letter of U+212A.
const hosts = /^([A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?$/

/** Parses `[<host>/]<name>[:<tag>][@<digest>]`. Without tag and digest it is `latest`; with both the digest counts. */
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
  const whole = host?.toLowerCase() === hub && !name.includes('/') ? `library/${name}` : name
  if (!isName(whole)) throw new MalformedReference(nameFault(name))
  if (!isTag(tag)) throw new MalformedReference(`${JSON.stringify(tag)} is not a tag: at most 128 of A-Z a-z 0-9 . _ -`)
  return {
    ...(host === undefined ? {} : { host: host.toLowerCase() }),
    name: whole,
    reference: digest === undefined ? { tag } : { digest }
  }
}

// The first component is a host if it looks like one, by the same rule as in containerd and Docker.
function splitHost(text: string): { host?: string; path: string } {
  const slash = text.indexOf('/')
  const first = text.slice(0, slash)
  const looksLikeHost = slash > 0 && (/[.:]/.test(first) || first === 'localhost')
  return looksLikeHost ? { host: first, path: text.slice(slash + 1) } : { path: text }
}

function nameFault(name: string): string {
  if (name === '') return 'it names no repository'
  if (/[A-Z]/.test(name)) return `the repository ${JSON.stringify(name)} has upper-case letters`
  return `${JSON.stringify(name.slice(0, 100))} is not the name of a repository`
}
