import { request } from 'node:https'
import { setTimeout as delay } from 'node:timers/promises'

/** A server of this node, and how containerd will ask it. */
export interface Probed {
  host: string
  port: number
  /** Authorities in PEM. */
  ca: string
  credentials?: { username: string; password: string }
}

const pauseMs = 250
const attemptMs = 5_000

/**
 * Waits until the server answers `GET /v2/` over TLS that the authorities vouch for. What it answers does not matter,
 * since replicas elsewhere may be down, except that it has to know the credentials. Rejects after `limitMs` with the
 * last reason.
 */
export async function awaitServer(what: string, probed: Probed, limitMs: number): Promise<void> {
  const end = performance.now() + limitMs
  for (;;) {
    const reason = await attempt(probed).catch((error: Error) => error.message)
    if (reason === undefined) return
    if (performance.now() >= end) throw new Error(`${what} does not answer on ${probed.host}:${probed.port} (${reason})`)
    await delay(pauseMs)
  }
}

function attempt({ host, port, ca, credentials }: Probed): Promise<string | undefined> {
  const { promise, resolve, reject } = Promise.withResolvers<string | undefined>()
  const auth = credentials ? { auth: `${credentials.username}:${credentials.password}` } : {}
  const asked = request({ host, port, ca, path: '/v2/', method: 'GET', agent: false, timeout: attemptMs, ...auth }, response => {
    response.resume()
    const { statusCode } = response
    resolve(
      credentials && (statusCode === 401 || statusCode === 403) ? `it refuses the credentials of this node (${statusCode})` : undefined
    )
    asked.destroy()
  })
  asked.on('timeout', () => asked.destroy(new Error('it does not answer in time')))
  asked.on('error', reject)
  asked.end()
  return promise
}
