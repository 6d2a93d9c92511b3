import { reasonOf } from '../../oci/errors.ts'

/** What was attempted, for advice: by which user, at which registry. */
export interface Attempt {
  host: string
  login?: string | undefined
  does: 'push' | 'ask' | 'remove'
}

interface RegistryError extends Error {
  kind: string
  status?: number
  code?: string
}

/** An error of a request to a registry in one line: what was asked for, what was answered, and what to do. */
export function adviceOn(error: unknown, attempt: Attempt): string {
  const advice = isRegistryError(error) ? adviceFor(error, attempt) : undefined
  return advice === undefined ? reasonOf(error) : `${reasonOf(error)}; ${advice}`
}

function isRegistryError(error: unknown): error is RegistryError {
  return error instanceof Error && 'kind' in error && typeof error.kind === 'string'
}

function adviceFor({ kind, status, code = '', message }: RegistryError, { host, login, does }: Attempt): string | undefined {
  const user = login === undefined ? 'a client without credentials' : `user ${JSON.stringify(login)}`
  if (code === 'REALM') return 'if that host is right, name it by --other-host'
  if (kind === 'unauthorized')
    return login === undefined
      ? 'give credentials by --login and --password-file'
      : `${host} does not accept the password of ${user}: check --login and --password-file`
  if (kind === 'denied') return `${user} lacks the right to do that in this repository of ${host}`
  if (status === 405 && does === 'push') return `${host} takes no pushes: a registry in Proxy or Direct mode is read-only`
  if (does === 'remove' && (status === 405 || status === 400)) return `${host} removes no tags: it is read-only, or has deletion turned off`
  if (status === 507) return `the storage of ${host} is full: make room there and run this again`
  if (status === 413) return 'what stands before the registry bounds the size of a request: raise that limit'
  if (kind === 'not-found' && does === 'push') return `the repository, or the project that it belongs to, has to be made at ${host} first`
  if (/^(CERT_|SELF_SIGNED|DEPTH_ZERO|UNABLE_TO)/.test(code)) return 'give the authority of its certificate by --tls-ca'
  if (/wrong version number|packet length too long/i.test(message)) return 'if it speaks plain HTTP, add --insecure'
  return undefined
}
