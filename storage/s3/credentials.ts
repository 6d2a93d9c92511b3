import { readFile } from 'node:fs/promises'

/** As the client wants them. */
export interface S3Credentials {
  accessKeyId: string
  secretAccessKey: string
  sessionToken?: string
  expiration?: Date
}

// The client renews credentials that would expire within five minutes; so it reads the file again this often, in ms.
const renewedBefore = 300_000
const often = 10_000

/**
 * Credentials in a file of the form that AWS's tools share, read again all the time: whoever replaces the file need not restart anything. All who have the function take new
 * ones at the same moment.
 */
export function credentialsFromFile(file: string): () => Promise<S3Credentials> {
  let current: (S3Credentials & { expiration: Date }) | undefined
  return async () => {
    if (current && current.expiration.getTime() - renewedBefore > Date.now()) return current
    const read = parseCredentials(await readFile(file, 'utf8'), file)
    current = { ...read, expiration: new Date(Date.now() + renewedBefore + often) }
    return current
  }
}

/** The first profile of such a file. */
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
