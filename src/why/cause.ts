import { UpstreamError } from '../upstream/error.ts'
import type { Cause, Step, UpstreamAnswer } from './report.ts'

const byCode: Record<string, Cause> = {
  ENOTFOUND: 'dns',
  EAI_AGAIN: 'dns',
  ECONNREFUSED: 'connection-refused',
  UND_ERR_CONNECT_TIMEOUT: 'unreachable',
  ETIMEDOUT: 'unreachable',
  CERT_HAS_EXPIRED: 'tls-expired',
  CERT_NOT_YET_VALID: 'tls-expired',
  ERR_TLS_CERT_ALTNAME_INVALID: 'tls-name',
  CERT_UNTRUSTED: 'tls-untrusted',
  INVALID_CA: 'tls-untrusted',
  CERT_SIGNATURE_FAILURE: 'tls-untrusted',
  EPROTO: 'tls'
}
const untrusted = /^(SELF_SIGNED|DEPTH_ZERO|UNABLE_TO)/
const otherTls = /^(CERT_|ERR_TLS|ERR_SSL)/

const byKind: Record<UpstreamError['kind'], Cause> = {
  'not-found': 'manifest-unknown',
  unauthorized: 'unauthorized',
  denied: 'denied',
  limited: 'rate-limited',
  unreachable: 'unreachable',
  timeout: 'timeout',
  broken: 'upstream-broken',
  invalid: 'not-a-registry',
  refused: 'redirect-refused',
  unsatisfiable: 'upstream-broken'
}

/** The cause that an upstream's error stands for. */
export function causeOf({ kind, code = '' }: UpstreamError): Cause {
  const known = Object.hasOwn(byCode, code) ? byCode[code] : undefined
  if (known) return known
  if (untrusted.test(code)) return 'tls-untrusted'
  return otherTls.test(code) ? 'tls' : byKind[kind]
}

const order = ['name', 'connection', 'certificate', 'access', 'found'] as const
type Steps = Pick<UpstreamAnswer, (typeof order)[number]>

/** How far a request came that ended with `error`, or succeeded if there is none. */
export function stepsOf(endpoint: URL, error?: UpstreamError): Steps {
  const failed = error ? failedAt(error) : order.length
  const steps = order.map((step, at): [string, Step] => [
    step,
    at < failed ? 'yes' : at === failed && error ? failedStep(error, at) : 'unknown'
  ])
  const made = Object.fromEntries(steps) as Steps
  if (endpoint.protocol === 'http:') made.certificate = 'not needed'
  if (/^[\d.]+$|^\[/.test(endpoint.hostname)) made.name = 'not needed'
  return made
}

function failedAt(error: UpstreamError): number {
  // The upstream limits requests for a while, so that none was sent.
  if (error.kind === 'limited' && error.status === undefined) return 0
  const cause = causeOf(error)
  if (cause === 'dns') return 0
  if (cause === 'connection-refused' || cause === 'unreachable') return 1
  if (cause.startsWith('tls')) return 2
  return error.kind === 'not-found' ? 4 : 3
}

// Without an answer nothing is known about access.
function failedStep({ kind }: UpstreamError, at: number): Step {
  if (kind === 'limited') return 'unknown'
  return at === order.indexOf('access') && kind !== 'unauthorized' && kind !== 'denied' ? 'unknown' : 'no'
}

/** The error, if it is an UpstreamError. */
export function upstreamErrorIn(error: unknown): UpstreamError | undefined {
  return error instanceof UpstreamError ? error : undefined
}
