// What the operator does about an error code. These errors are permanent: the process does not start with them.
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
// Errors that end by themselves or when the credentials are renewed.
const temporary: Readonly<Record<string, string>> = {
  ExpiredToken: 'the credentials have expired: new ones are taken as soon as they are there',
  ExpiredTokenException: 'the credentials have expired: new ones are taken as soon as they are there',
  TokenRefreshRequired: 'the credentials have expired: new ones are taken as soon as they are there',
  SlowDown: 'the service asks for fewer requests'
}
// Error codes of quotas and full disks.
const capacityCodes: Readonly<Record<string, string>> = {
  QuotaExceeded: 'EDQUOT',
  QuotaExceededException: 'EDQUOT',
  XMinioStorageFull: 'ENOSPC',
  XMinioAdminBucketQuotaExceeded: 'EDQUOT',
  EntityTooLarge: 'EFBIG'
}

/** An operation on a bucket or an object in it. */
export interface S3Operation {
  bucket: string
  operation: string
  key?: string | undefined
}

/**
 * An operation that the service refused or did not complete. `code` is that of a system call: `EDQUOT`, `ENOSPC` or
 * `EFBIG` for a limit, else `ESTALLED`, since to callers the storage does not respond.
 */
export class S3Error extends Error {
  readonly code: string
  /** The service's error code, or that of the connection. */
  readonly s3Code: string
  readonly status: number | undefined
  /** Whether an operator has to correct something. */
  readonly permanent: boolean

  constructor({ bucket, operation, key }: S3Operation, cause: unknown) {
    const { s3Code, status, message } = describeError(cause)
    const remedy = remedies[s3Code] ?? temporary[s3Code]
    const location = key === undefined ? `bucket ${bucket}` : `bucket ${bucket}, ${key}`
    const reason = `${s3Code}${status === undefined ? '' : ` (${status})`}`
    super(`storage.s3: ${operation} failed in ${location}: ${reason}: ${remedy ?? message}`, { cause })
    this.s3Code = s3Code
    this.status = status
    this.code = capacityCodes[s3Code] ?? 'ESTALLED'
    this.permanent = Object.hasOwn(remedies, s3Code)
  }
}

interface ErrorDescription {
  s3Code: string
  status: number | undefined
  message: string
}

// Responses to HEAD have no body with the code.
const byStatus: Readonly<Record<number, string>> = { 301: 'PermanentRedirect', 403: 'Forbidden', 404: 'NotFound', 503: 'SlowDown' }

/** Code, status and message of an error of the SDK. */
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
  const unnamed = named === undefined || named === 'Unknown' || named === 'UnknownError' || /^[0-9]+$/.test(named)
  if (unnamed && cause !== undefined && status === undefined) return describeError(cause)
  return { s3Code: unnamed ? (byStatus[status ?? 0] ?? named ?? 'Error') : named, status, message: message ?? String(error) }
}

const absences = new Set(['NoSuchKey', 'NotFound', 'KeyTooLongError', 'KeyTooLong', 'NoSuchVersion'])

/** Whether there is no such object; a missing bucket is another error. */
export function isAbsence(error: unknown): boolean {
  return absences.has(describeError(error).s3Code)
}

interface SdkError {
  $metadata?: { clockSkewCorrected?: boolean }
}

// From now on the SDK uses the service's clock.
const isCorrected = (error: unknown): boolean => (error as SdkError).$metadata?.clockSkewCorrected === true

/**
 * While clocks differ, the SDK marks every refusal as caused by that and retries it. Removes the mark from errors that
 * were not.
 */
export function clearFalseClockSkew(error: unknown): void {
  if (isCorrected(error) && describeError(error).s3Code !== 'RequestTimeTooSkewed') delete (error as SdkError).$metadata?.clockSkewCorrected
}

/** Whether a retry may help: a broken connection, a timeout, a corrected clock or a busy service. */
export function isTransient(error: unknown): boolean {
  const { s3Code, status } = describeError(error)
  // A bug, and a request that was aborted.
  if (error instanceof TypeError || s3Code === 'AbortError') return false
  if (isCorrected(error)) return true
  if (Object.hasOwn(remedies, s3Code) || Object.hasOwn(capacityCodes, s3Code)) return false
  return status === undefined || status === 408 || status === 409 || status === 429 || status >= 500
}
