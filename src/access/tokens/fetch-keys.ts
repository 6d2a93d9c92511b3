import { readFile } from 'node:fs/promises'
import { request } from 'node:https'

/** Where another issuer publishes its keys, and what it takes to read them. */
export interface KeysLocation {
  /** With https. */
  readonly url: string
  /** A file with authorities in PEM; absent: those of the system. */
  readonly ca?: string | undefined
  /** A file with a bearer token. */
  readonly token?: string | undefined
}

// A set of keys has some KiB.
const maxBytes = 256 * 1024
const timeoutMs = 10_000

/** Reads a JSON Web Key Set. Follows no redirect; rejects with an Error unless it is there within 10 s. */
export async function fetchKeys({ url, ca, token }: KeysLocation): Promise<Buffer> {
  // Read each time: Kubernetes replaces both now and then.
  const authorities = ca === undefined ? undefined : await readFile(ca)
  const bearer = token === undefined ? undefined : (await readFile(token, 'utf8')).trim()
  const headers = { accept: 'application/jwk-set+json, application/json', ...(bearer ? { authorization: `Bearer ${bearer}` } : {}) }
  const options = { agent: false, headers, signal: AbortSignal.timeout(timeoutMs), ...(authorities ? { ca: authorities } : {}) }
  return await new Promise((resolve, reject) => {
    const fail = (cause: Error) => reject(new Error(`${url}: ${cause.message}`, { cause }))
    const sent = request(url, options, response => {
      const chunks: Buffer[] = []
      let size = 0
      response.on('data', (chunk: Buffer) => {
        size += chunk.length
        if (size > maxBytes) response.destroy(new Error(`the answer has more than ${maxBytes} bytes`))
        else chunks.push(chunk)
      })
      response.once('error', fail)
      response.once('end', () => {
        if (response.statusCode === 200) resolve(Buffer.concat(chunks))
        else fail(new Error(`the answer is ${response.statusCode}`))
      })
    })
    sent.once('error', fail)
    sent.end()
  })
}
