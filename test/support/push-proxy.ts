import { once } from 'node:events'
import { createServer, type IncomingMessage, request as outgoing, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Test } from 'tap'

/** A request as it came to the proxy; `bytes` of its body have been passed on. */
export interface PassedRequest {
  method: string
  path: string
  headers: IncomingMessage['headers']
  bytes: number
}

/** What goes wrong between a client and a registry that it pushes to. Each number counts down as it is used. */
export interface PushFaults {
  /** For each following PATCH or PUT of a body: the connection ends after so many bytes of it. */
  cutAt: number[]
  /** Answers to so many requests of this method are lost: the registry has done what it was told. */
  lost?: { method: string; times: number; path?: RegExp }
  /** A token is demanded of every request, `secret` if none is named here. `given` are the scopes of those obtained. */
  token?: { scope?: string; given: string[]; value?: string }
  /** An answer instead of the registry's. */
  status?: { status: number; times: number; when: (request: PassedRequest) => boolean; headers?: Record<string, string> }
  /** Changes the head of an answer. */
  rewrite?: (headers: Record<string, string>, request: PassedRequest) => void
}

/** A proxy in front of a registry. */
export interface PushProxy {
  readonly url: string
  readonly requests: PassedRequest[]
  readonly faults: PushFaults
  /** `METHOD` of each request so far, in order. */
  methods(): string[]
}

/** Starts a proxy in front of `target` (`host:port`), stopped with the test. */
export async function startPushProxy(t: Test, target: string): Promise<PushProxy> {
  const requests: PassedRequest[] = []
  const faults: PushFaults = { cutAt: [] }
  const server = createServer(
    (request, response) => void pass(request, response, { target, requests, faults }).catch(() => request.destroy())
  )
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(async () => {
    const closed = once(server, 'close')
    server.close()
    server.closeAllConnections()
    await closed
  })
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  return { url, requests, faults, methods: () => requests.map(each => each.method) }
}

async function pass(
  request: IncomingMessage,
  response: ServerResponse,
  { target, requests, faults }: { target: string; requests: PassedRequest[]; faults: PushFaults }
): Promise<void> {
  const { method = '', url: path = '', headers } = request
  if (path.startsWith('/token')) {
    const scopes = new URL(path, 'http://any').searchParams.getAll('scope').join(' ')
    faults.token?.given.push(scopes)
    return void response
      .writeHead(200, { 'content-type': 'application/json' })
      .end(JSON.stringify({ token: faults.token?.value ?? 'secret' }))
  }
  const passed: PassedRequest = { method, path, headers, bytes: 0 }
  requests.push(passed)
  if (faults.token && headers.authorization !== `Bearer ${faults.token.value ?? 'secret'}`) {
    const scope = faults.token.scope === undefined ? '' : `,scope="${faults.token.scope}"`
    const challenge = `Bearer realm="http://${headers.host}/token",service="test"${scope}`
    return void response.writeHead(401, { 'www-authenticate': challenge, 'content-length': 0 }).end()
  }
  const { status } = faults
  if (status && status.times > 0 && status.when(passed)) {
    status.times--
    request.resume()
    await once(request, 'end')
    return void response.writeHead(status.status, { 'content-length': 0, ...status.headers }).end()
  }
  const [host, port] = target.split(':')
  const { authorization: _, ...kept } = headers
  const forward = outgoing({ host, port, method, path, headers: kept, agent: false })
  forward.on('error', () => request.socket.destroy())
  const answered = once(forward, 'response') as Promise<[IncomingMessage]>
  answered.catch(() => {})
  if (!(await forwardBody(request, forward, passed, faults))) return
  const [answer] = await answered
  if (faults.lost && faults.lost.times > 0 && faults.lost.method === method && (faults.lost.path?.test(path) ?? true)) {
    faults.lost.times--
    await answer.resume().toArray()
    return void request.socket.destroy()
  }
  const head = Object.fromEntries(Object.entries(answer.headers).map(([name, value]) => [name, `${value}`]))
  faults.rewrite?.(head, passed)
  response.writeHead(answer.statusCode ?? 500, head)
  answer.pipe(response)
}

// False where the connections were cut; what was passed on before reaches the registry.
async function forwardBody(
  request: IncomingMessage,
  forward: ReturnType<typeof outgoing>,
  passed: PassedRequest,
  faults: PushFaults
): Promise<boolean> {
  let cutAt: number | undefined
  for await (const chunk of request as AsyncIterable<Buffer>) {
    if (passed.bytes === 0 && (passed.method === 'PATCH' || passed.method === 'PUT')) cutAt = faults.cutAt.shift()
    const piece = cutAt === undefined ? chunk : chunk.subarray(0, cutAt - passed.bytes)
    passed.bytes += piece.length
    await new Promise<void>(resolve => forward.write(piece, () => resolve()))
    if (cutAt !== undefined && passed.bytes >= cutAt) {
      // The registry reads to the end of what was sent, then sees that the rest is missing.
      forward.socket?.end()
      await once(forward, 'close').catch(() => {})
      request.socket.destroy()
      return false
    }
  }
  forward.end()
  return true
}
