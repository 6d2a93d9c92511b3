import { request } from 'node:http'
import type { FastifyInstance } from 'fastify'

/** What commands can ask of the running process. */
export interface Controls {
  status(): Promise<Record<string, unknown>>
  /** The levels that the log knows. */
  levels: readonly string[]
  setLevel(level: string): void
}

/** The control socket's side of the commands. */
export function registerControl(app: FastifyInstance, { status, levels, setLevel }: Controls): void {
  app.get('/status', () => status())
  app.put<{ Body: { level: string } }>(
    '/log/level',
    { schema: { body: { type: 'object', required: ['level'], properties: { level: { enum: [...levels] } } } } },
    async ({ body }) => {
      setLevel(body.level)
      return { level: body.level }
    }
  )
}

/** A command's side: asks the process that listens on the socket. Rejects with what it answers, or with why nobody does. */
export function callControl(socketPath: string, method: 'GET' | 'PUT', path: string, body?: unknown): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const headers = body === undefined ? {} : { 'content-type': 'application/json' }
    const outgoing = request({ socketPath, method, path, headers, timeout: 10_000 }, async response => {
      try {
        const answer = JSON.parse(Buffer.concat(await response.toArray()).toString())
        if (response.statusCode === 200) resolve(answer)
        else reject(new Error(answer.message ?? `the registry answered ${response.statusCode}`))
      } catch (error) {
        reject(error)
      }
    })
    outgoing.on('timeout', () => outgoing.destroy(new Error('the registry does not answer')))
    outgoing.on('error', (error: NodeJS.ErrnoException) => {
      const absent = error.code === 'ENOENT' || error.code === 'ECONNREFUSED'
      reject(absent ? new Error(`no registry is running behind ${socketPath}`, { cause: error }) : error)
    })
    outgoing.end(body === undefined ? undefined : JSON.stringify(body))
  })
}
