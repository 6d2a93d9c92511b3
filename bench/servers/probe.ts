import { readFileSync } from 'node:fs'
import { request as plain } from 'node:http'
import { request as secure } from 'node:https'
import type { Pki } from '../../test/e2e/pki.ts'

/** A probe that asks the registry's root, and takes any answer. */
export function probeOf(address: string, pki: Pki | undefined): () => Promise<void> {
  const [host, port] = address.split(':')
  const options = { host, port, path: '/v2/', agent: false as const, timeout: 5000 }
  const ca = pki && readFileSync(pki.ca)
  return () =>
    new Promise((resolve, reject) => {
      const request = ca ? secure({ ...options, ca }) : plain(options)
      request.once('error', reject)
      request.once('timeout', () => request.destroy(new Error('no answer')))
      request.once('response', response => {
        response.resume()
        response.once('error', reject)
        response.once('end', resolve)
      })
      request.end()
    })
}
