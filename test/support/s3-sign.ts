import { createHash, createHmac } from 'node:crypto'
import type { IncomingHttpHeaders } from 'node:http'
import type { S3Server } from './s3-server.ts'

/** A request as Signature Version 4 of AWS covers it. */
export interface SignedRequest {
  method: string
  /** Path and query as they were sent. */
  url: string
  headers: IncomingHttpHeaders
  /** Names of the headers that are signed, in lower case and sorted. */
  signedHeaders: readonly string[]
  /** `<date>/<region>/s3/aws4_request`. */
  scope: string
  /** `x-amz-date`. */
  date: string
  /** `x-amz-content-sha256`, or `UNSIGNED-PAYLOAD`. */
  payload: string
}

/** The signature of a request (Signature Version 4). */
export function signatureOf({ method, url, headers, signedHeaders, scope, date, payload }: SignedRequest, secretAccessKey: string): string {
  const [path = '', query = ''] = url.split('?', 2)
  const pairs = [...new URLSearchParams(query.replaceAll('+', '%2B'))].filter(([name]) => name !== 'X-Amz-Signature')
  const canonicalQuery = pairs
    .map(each => each.map(encoded).join('='))
    .sort()
    .join('&')
  const lines = signedHeaders.map(name => `${name}:${String(headers[name]).trim().replace(/ +/g, ' ')}`)
  const request = [method, path, canonicalQuery, ...lines, '', signedHeaders.join(';'), payload].join('\n')
  const digest = createHash('sha256').update(request).digest('hex')
  const text = ['AWS4-HMAC-SHA256', date, scope, digest].join('\n')
  const signingKey = scope.split('/').reduce<Buffer | string>((secret, part) => hmac(secret, part), `AWS4${secretAccessKey}`)
  return hmac(signingKey, text).toString('hex')
}

/** Access key, scope and signed headers in a header `Authorization`. */
export function parseAuthorization(header = ''): { accessKeyId: string; scope: string; signedHeaders: string[]; signature: string } {
  const [, accessKeyId = '', scope = '', signed = '', signature = ''] =
    /Credential=([^/]+)\/([^,]+), *SignedHeaders=([^,]+), *Signature=([0-9a-f]+)/.exec(header) ?? []
  return { accessKeyId, scope, signedHeaders: signed.split(';'), signature }
}

/**
 * The headers of a request without its session token, signed anew with the sender's secret key. A service that knows no
 * tokens refuses requests that have one.
 */
export function withoutToken(
  method: string,
  url: string,
  { 'x-amz-security-token': _, ...headers }: IncomingHttpHeaders,
  { secretAccessKey }: S3Server['credentials']
): IncomingHttpHeaders {
  const { accessKeyId, scope, signedHeaders } = parseAuthorization(headers.authorization)
  const names = signedHeaders.filter(name => name !== 'x-amz-security-token')
  const [date, payload] = [String(headers['x-amz-date']), String(headers['x-amz-content-sha256'])]
  const signature = signatureOf({ method, url, headers, signedHeaders: names, scope, date, payload }, secretAccessKey)
  const authorization = `AWS4-HMAC-SHA256 Credential=${accessKeyId}/${scope}, SignedHeaders=${names.join(';')}, Signature=${signature}`
  return { ...headers, authorization }
}

const hmac = (key: Buffer | string, text: string): Buffer => createHmac('sha256', key).update(text).digest()
const encoded = (text: string): string =>
  encodeURIComponent(text).replace(/[!'()*]/g, each => `%${each.charCodeAt(0).toString(16).toUpperCase()}`)
