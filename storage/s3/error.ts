// What the operator does about what the service says. These last until somebody does something: a start ends with them.
const remedies: Readonly<Record<string, string>> = {
  NoSuchBucket: 'there is no such bucket: create it, or correct storage.s3.bucket',
  InvalidBucketName: 'correct storage.s3.bucket',
  AccessDenied: 'the credentials lack a permission that the registry needs: compare them with docs/s3.md',
  Forbidden: 'the credentials lack a permission that the registry needs: compare them with docs/s3.md',
  AllAccessDisabled: 'the bucket was disabled by its owner',
  InvalidAccessKeyId: 'the service does not know the access key: correct storage.s3.credentials',
  InvalidToken: 'the service does not know the session token: correct storage.s3.credentials',
  XAdminUserNotFound: 'the service does not know the access key: correct storage.s3.credentials',
  SignatureDoesNotMatch: 'the secret key is wrong, or storage.s3.endpoint is not what the service calls itself',
  AuthorizationHeaderMalformed: 'the bucket lies in another region: correct storage.s3.region',
  PermanentRedirect: 'the bucket lies in another region or behind another endpoint: correct storage.s3.region and storage.s3.endpoint',
  IllegalLocationConstraintException: 'the bucket lies in another region: correct storage.s3.region',
  RequestTimeTooSkewed: "this machine's clock differs from that of the service by too much: set it",
  CredentialsProviderError: 'no credentials were found: set storage.s3.credentials',
  DEPTH_ZERO_SELF_SIGNED_CERT: "the service's certificate is not trusted: set storage.s3.ca",
  SELF_SIGNED_CERT_IN_CHAIN: "the service's certificate is not trusted: set storage.s3.ca",
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: "the service's certificate is not trusted: set storage.s3.ca",
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: "the service's certificate is not trusted: set storage.s3.ca",
  ERR_TLS_CERT_ALTNAME_INVALID: "the service's certificate is for another name than that of storage.s3.endpoint",
  CERT_HAS_EXPIRED: "the service's certificate has expired"
}
// These pass, by themselves or by somebody who renews the credentials.
const passing: Readonly<Record<string, string>> = {
  ExpiredToken: 'the credentials have expired: new ones are taken as soon as they are there',
  ExpiredTokenException: 'the credentials have expired: new ones are taken as soon as they are there',
  TokenRefreshRequired: 'the credentials have expired: new ones are taken as soon as they are there',
  SlowDown: 'the service asks for fewer requests'
}
const full: Readonly<Record<string, string>> = {
  QuotaExceeded: 'EDQUOT',
  QuotaExceededException: 'EDQUOT',
  XMinioStorageFull: 'ENOSPC',
  XMinioAdminBucketQuotaExceeded: 'EDQUOT',
  EntityTooLarge: 'EFBIG'
}

/** Which bucket was asked for what. */
export interface S3Operation {
  bucket: string
  operation: string
  key?: string | undefined
}

/** The service did not do what it was asked for. `code` is that of a system call that fails like this: to those who ask, the medium does not answer. */
export class S3Error extends Error {
  readonly code: string
  /** What the service called it, or the connection. */
  readonly s3Code: string
  readonly status: number | undefined
  /** Whether it stays like this until somebody does something. */
  readonly permanent: boolean

  constructor({ bucket, operation, key }: S3Operation, cause: unknown) {
    const { s3Code, status, message } = describeError(cause)
    const remedy = remedies[s3Code] ?? passing[s3Code]
    const place = key === undefined ? `bucket ${bucket}` : `bucket ${bucket}, ${key}`
    const answer = `${s3Code}${status === undefined ? '' : ` (${status})`}`
    super(`storage.s3: ${operation} failed in ${place}: ${answer}: ${remedy ?? message}`, { cause })
    this.s3Code = s3Code
    this.status = status
    this.code = full[s3Code] ?? 'ESTALLED'
    this.permanent = Object.hasOwn(remedies, s3Code)
  }
}

interface ErrorDescription {
  s3Code: string
  status: number | undefined
  message: string
}

// A head has no body that would tell the code.
const byStatus: Readonly<Record<number, string>> = { 301: 'PermanentRedirect', 403: 'Forbidden', 404: 'NotFound', 503: 'SlowDown' }

/** What an error of the SDK says. */
export function describeError(error: unknown): ErrorDescription {
  const { name, code, Code, message, $metadata, cause } = error as {
    name?: string
    code?: string
    Code?: string
    message?: string
    $metadata?: { httpStatusCode?: number }
    cause?: unknown
  }
  const status = $metadata?.httpStatusCode
  const named = Code ?? code ?? (name === 'Error' || name === undefined ? undefined : name)
  const vague = named === undefined || named === 'Unknown' || named === 'UnknownError' || /^[0-9]+$/.test(named)
  if (vague && cause !== undefined && status === undefined) return describeError(cause)
  return { s3Code: vague ? (byStatus[status ?? 0] ?? named ?? 'Error') : named, status, message: message ?? String(error) }
}

const absences = new Set(['NoSuchKey', 'NotFound', 'KeyTooLongError', 'KeyTooLong', 'NoSuchVersion'])

/** Whether it says that there is no such object, and not that there is no bucket. */
export function isAbsence(error: unknown): boolean {
  return absences.has(describeError(error).s3Code)
}

interface Answered {
  $metadata?: { clockSkewCorrected?: boolean }
}

// The client goes by the clock of the service from now on.
const isCorrected = (error: unknown): boolean => (error as Answered).$metadata?.clockSkewCorrected === true

/** Where clocks differ the client takes every refusal for one that this may have caused, and tries again; an error keeps its mark only if it was. */
export function clearFalseClockSkew(error: unknown): void {
  if (isCorrected(error) && describeError(error).s3Code !== 'RequestTimeTooSkewed') delete (error as Answered).$metadata?.clockSkewCorrected
}

/** Whether trying again may help: the connection, the time, or a service that is busy. */
export function isTransient(error: unknown): boolean {
  const { s3Code, status } = describeError(error)
  // A fault of ours stays one, and what was given up is.
  if (error instanceof TypeError || s3Code === 'AbortError') return false
  if (isCorrected(error)) return true
  if (Object.hasOwn(remedies, s3Code) || Object.hasOwn(full, s3Code)) return false
  return status === undefined || status === 408 || status === 409 || status === 429 || status >= 500
}
