import { readFile } from 'node:fs/promises'
import type { IncomingHttpHeaders } from 'node:http'
import { request as plain } from 'node:http'
import { request as secure } from 'node:https'
import { sha256 } from './layout.ts'
import type { Registry } from './registry.ts'

/** A whole answer. */
export interface Answer {
  status: number
  headers: IncomingHttpHeaders
  body: Buffer
}

/** What is asked: method and path under the registry's address, with what body. */
export interface Ask {
  method?: string
  path: string
  headers?: Readonly<Record<string, string>>
  body?: Buffer
}

/** Sends one request to a registry and reads the whole answer; every answer resolves, whatever its status. */
export async function ask(registry: Pick<Registry, 'address' | 'ca'>, { method = 'GET', path, headers = {}, body }: Ask): Promise<Answer> {
  const ca = registry.ca === undefined ? undefined : await readFile(registry.ca)
  const url = new URL(path, `${ca === undefined ? 'http' : 'https'}://${registry.address}`)
  const options = { method, agent: false, headers: { 'content-length': String(body?.length ?? 0), ...headers } } as const
  return await new Promise((resolve, reject) => {
    const request = ca === undefined ? plain(url, options) : secure(url, { ...options, ca })
    request.once('error', reject)
    request.once('response', response => {
      const chunks: Buffer[] = []
      response.on('data', (chunk: Buffer) => chunks.push(chunk))
      response.once('error', reject)
      response.once('end', () => resolve({ status: response.statusCode ?? 0, headers: response.headers, body: Buffer.concat(chunks) }))
    })
    request.end(body)
  })
}

/** Pushes a blob that nothing refers to, and answers its digest. */
export async function addBlob(registry: Pick<Registry, 'address' | 'ca'>, name: string, body: Buffer): Promise<string> {
  const session = await ask(registry, { method: 'POST', path: `/v2/${name}/blobs/uploads/` })
  const location = new URL(session.headers.location ?? '', `http://${registry.address}`)
  location.searchParams.set('digest', sha256(body))
  const headers = { 'content-type': 'application/octet-stream' }
  const answer = await ask(registry, { method: 'PUT', path: location.pathname + location.search, headers, body })
  if (answer.status !== 201) throw new Error(`the blob was not accepted: ${answer.status} ${answer.body}`)
  return sha256(body)
}
