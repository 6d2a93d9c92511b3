import { type IncomingMessage, request } from 'node:http'
import { Readable } from 'node:stream'
import type { FastifyInstance } from 'fastify'
import { lines, whileAsked } from './asked.ts'
import { oneOf, requireBody } from './body.ts'
import { type Operations, registerUpkeep } from './operations.ts'

/** How closely stored bytes are looked at: by their size, or by computing their digest. */
export type Depth = 'size' | 'digest'

/** What commands can ask of the running process. */
export interface ControlDeps {
  status(): Promise<Record<string, unknown>>
  /** The levels that the log knows. */
  levels: readonly string[]
  setLevel(level: string): void
  /** Why a pull of the reference works or does not. */
  explain(reference: string, asked: { depth: Depth; signal: AbortSignal }): Promise<object>
  /** Whether everything that the references lead to is stored, one result each. */
  verify(references: readonly string[], asked: { depth: Depth; signal: AbortSignal }): AsyncIterable<object>
  /** Long work on what is stored. */
  upkeep: Operations
}

// A platform has some thousand images; a reference has at most some hundred characters.
const longestSet = 16 * 1024 * 1024
const longestReference = 1024
const depth = oneOf(['size', 'digest'])
const isReference = (value: unknown) => typeof value === 'string' && value.length <= longestReference
const reference = { expected: `a string of at most ${longestReference} characters`, accepts: isReference }
const references = { expected: `an array of strings of at most ${longestReference} characters`, accepts: isReferences }

/** The control socket's side of the commands. */
export function registerControl(app: FastifyInstance, { status, levels, setLevel, explain, verify, upkeep }: ControlDeps): void {
  registerUpkeep(app, upkeep)
  app.get('/status', () => status())
  app.put<{ Body: { level: string } }>('/log/level', { preHandler: requireBody({ level: oneOf(levels) }) }, async ({ body }) => {
    setLevel(body.level)
    return { level: body.level }
  })
  app.post<{ Body: { reference: string; depth: Depth } }>('/why', { preHandler: requireBody({ reference, depth }) }, ({ body }, reply) =>
    explain(body.reference, { depth: body.depth, signal: whileAsked(reply.raw) })
  )
  app.post<{ Body: { references: string[]; depth: Depth } }>(
    '/verify',
    { bodyLimit: longestSet, preHandler: requireBody({ references, depth }) },
    async ({ body }, reply) => {
      const results = verify(body.references, { depth: body.depth, signal: whileAsked(reply.raw) })
      return reply.type('application/x-ndjson').send(Readable.from(lines(results)))
    }
  )
}

function isReferences(value: unknown): boolean {
  return Array.isArray(value) && value.every(isReference)
}

/** What a command asks; `patience` is how long nothing may come, in ms, and 0 any time. */
export interface ControlRequest {
  method: 'GET' | 'PUT' | 'POST'
  path: string
  body?: unknown
  idleTimeoutMs?: number
  /** Ends the call: nobody waits for its answer any more. */
  signal?: AbortSignal
}

/** No process answers on the socket. */
export class NotRunning extends Error {
  override readonly name = 'NotRunning'
}

const usualPatience = 10_000

/** A command's side: asks the process that listens on the socket. Rejects with what it answers, or with why nobody does. */
export async function callControl(
  socketPath: string,
  method: ControlRequest['method'],
  path: string,
  body?: unknown,
  patience = usualPatience
): Promise<unknown> {
  return JSON.parse(await text(await open(socketPath, { method, path, body, idleTimeoutMs: patience })))
}

/** Like `callControl`, for answers that come one JSON object a line. Throws if they end before they are complete. */
export async function* streamControl(socketPath: string, call: ControlRequest): AsyncGenerator<unknown, void> {
  let rest = ''
  const response = (await open(socketPath, call)).setEncoding('utf8')
  for await (const chunk of response) {
    const lines = `${rest}${chunk}`.split('\n')
    rest = lines.pop() ?? ''
    for (const line of lines) yield JSON.parse(line)
  }
}

async function open(socketPath: string, call: ControlRequest): Promise<IncomingMessage> {
  const response = await send(socketPath, call)
  if (response.statusCode === 200) return response
  const { message } = JSON.parse(await text(response)) as { message?: string }
  throw new Error(message ?? `the registry answered ${response.statusCode}`)
}

async function text(response: IncomingMessage): Promise<string> {
  return Buffer.concat(await response.toArray()).toString()
}

function send(
  socketPath: string,
  { method, path, body, idleTimeoutMs: patience = usualPatience, signal }: ControlRequest
): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const headers = body === undefined ? {} : { 'content-type': 'application/json' }
    const outgoing = request({ socketPath, method, path, headers, timeout: patience, ...(signal ? { signal } : {}) }, resolve)
    outgoing.on('timeout', () => outgoing.destroy(new Error('the registry does not answer')))
    outgoing.on('error', (error: NodeJS.ErrnoException) => {
      const absent = error.code === 'ENOENT' || error.code === 'ECONNREFUSED'
      reject(absent ? new NotRunning(`no registry is running behind ${socketPath}`, { cause: error }) : error)
    })
    outgoing.end(body === undefined ? undefined : JSON.stringify(body))
  })
}
