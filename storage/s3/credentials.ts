import { readFile } from 'node:fs/promises'

/** Credentials as the SDK takes them. */
export interface S3Credentials {
  accessKeyId: string
  secretAccessKey: string
  sessionToken?: string
  expiration?: Date
}

// The SDK renews credentials that expire within five minutes. So with this expiry it asks again after `rereadMs`.
const sdkRenewalMs = 300_000
const rereadMs = 10_000

/**
 * A provider of the credentials in a file of AWS's shared format. The file is read again at intervals, so that
 * replacing it needs no restart. All clients that share the provider get new credentials at the same time.
 */
export function credentialsFromFile(file: string): () => Promise<S3Credentials> {
  let current: (S3Credentials & { expiration: Date }) | undefined
  return async () => {
    if (current && current.expiration.getTime() - sdkRenewalMs > Date.now()) return current
    const read = parseCredentials(await readFile(file, 'utf8'), file)
    current = { ...read, expiration: new Date(Date.now() + sdkRenewalMs + rereadMs) }
    return current
  }
}

/** The first profile in a file of AWS's shared format. */
export function parseCredentials(text: string, file: string): S3Credentials {
  const found = new Map<string, string>()
  for (const line of text.split('\n')) {
    const [, name, value] = /^\s*([a-z_]+)\s*=\s*(\S+)\s*$/.exec(line) ?? []
    if (name !== undefined && value !== undefined && !found.has(name)) found.set(name, value)
  }
  const [accessKeyId, secretAccessKey] = [found.get('aws_access_key_id'), found.get('aws_secret_access_key')]
  const sessionToken = found.get('aws_session_token')
  if (accessKeyId && secretAccessKey) return { accessKeyId, secretAccessKey, ...(sessionToken ? { sessionToken } : {}) }
  throw Object.assign(new Error(`${file} has no aws_access_key_id and aws_secret_access_key`), { name: 'CredentialsProviderError' })
}
