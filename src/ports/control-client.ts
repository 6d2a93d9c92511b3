import { type IncomingMessage, request } from 'node:http'
import { controlUserFields } from './control-user.ts'
import { localUser } from './operation-record.ts'

/** A request to the control socket. */
export interface ControlRequest {
  method: 'GET' | 'PUT' | 'POST'
  path: string
  body?: unknown
  /** How long no byte may come, in ms; 0: for ever. */
  idleTimeoutMs?: number
  /** Breaks the request off. */
  signal?: AbortSignal
}

/** No process listens on the socket. */
export class NotRunning extends Error {
  override readonly name = 'NotRunning'
}

const defaultIdleTimeoutMs = 10_000

/**
 * Sends a request to the process behind the socket, and resolves to the JSON of the response. Rejects with the error in
 * it.
 */
export async function callControl(
  socketPath: string,
  method: ControlRequest['method'],
  path: string,
  body?: unknown,
  idleTimeoutMs = defaultIdleTimeoutMs
): Promise<unknown> {
  return JSON.parse(await text(await open(socketPath, { method, path, body, idleTimeoutMs })))
}

/** Like `callControl`, for responses of one JSON object a line. Throws if the response is truncated. */
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
  { method, path, body, idleTimeoutMs = defaultIdleTimeoutMs, signal }: ControlRequest
): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const headers = { ...controlUserFields(localUser()), ...(body === undefined ? {} : { 'content-type': 'application/json' }) }
    const outgoing = request({ socketPath, method, path, headers, timeout: idleTimeoutMs, ...(signal ? { signal } : {}) }, resolve)
    outgoing.on('timeout', () => outgoing.destroy(new Error('the registry does not answer')))
    outgoing.on('error', (error: NodeJS.ErrnoException) => {
      const absent = error.code === 'ENOENT' || error.code === 'ECONNREFUSED'
      reject(absent ? new NotRunning(`no registry is running behind ${socketPath}`, { cause: error }) : error)
    })
    outgoing.end(body === undefined ? undefined : JSON.stringify(body))
  })
}
