import { createHash, createHmac } from 'node:crypto'
import type { IncomingHttpHeaders } from 'node:http'
import type { S3Server } from './s3-server.ts'

/**
 * The headers of a request without its session token, signed anew (Signature Version 4): a service without tokens takes no request that has one. The secret key is that of
 * whoever made the request.
 */
export function withoutToken(
  method: string,
  url: string,
  { 'x-amz-security-token': _, ...headers }: IncomingHttpHeaders,
  { secretAccessKey }: S3Server['credentials']
): IncomingHttpHeaders {
  const [, key, scope = '', signed = ''] = /Credential=([^/]+)\/([^,]+), *SignedHeaders=([^,]+)/.exec(headers.authorization ?? '') ?? []
  const { pathname, searchParams } = new URL(url, 'http://service')
  const names = signed.split(';').filter(name => name !== 'x-amz-security-token')
  searchParams.sort()
  const query = [...searchParams].map(each => each.map(encoded).join('=')).join('&')
  const lines = names.map(name => `${name}:${String(headers[name]).trim()}`)
  const request = [method, pathname, query, ...lines, '', names.join(';'), headers['x-amz-content-sha256']].join('\n')
  const digest = createHash('sha256').update(request).digest('hex')
  const text = ['AWS4-HMAC-SHA256', headers['x-amz-date'], scope, digest].join('\n')
  const signingKey = scope.split('/').reduce<Buffer | string>((secret, part) => hmac(secret, part), `AWS4${secretAccessKey}`)
  const signature = hmac(signingKey, text).toString('hex')
  const authorization = `AWS4-HMAC-SHA256 Credential=${key}/${scope}, SignedHeaders=${names.join(';')}, Signature=${signature}`
  return { ...headers, authorization }
}

const hmac = (key: Buffer | string, text: string): Buffer => createHmac('sha256', key).update(text).digest()
const encoded = (text: string): string =>
  encodeURIComponent(text).replace(/[!'()*]/g, each => `%${each.charCodeAt(0).toString(16).toUpperCase()}`)
