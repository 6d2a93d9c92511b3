import type { Connections } from '../connection/connections.ts'
import { drain } from '../connection/read-body.ts'
import { send } from '../connection/send.ts'
import { UpstreamError } from '../error.ts'
import type { UpstreamEvent } from '../options.ts'
import { SingleFlight } from '../single-flight.ts'
import type { Endpoints } from './endpoints.ts'

/** Dependencies of Probes. */
export interface ProbeDeps {
  connections: Connections
  endpoints: Endpoints
  observe: (event: UpstreamEvent) => void
  timeoutMs: number
}

/** Asks endpoints whether they answer at all: `GET /`, which no registry lets wait for its storage. */
export class Probes {
  readonly #deps: ProbeDeps
  readonly #running = new SingleFlight<boolean>()

  constructor(deps: ProbeDeps) {
    this.#deps = deps
  }

  /**
   * Whether the endpoint answers, whatever it says; its health is updated. One probe of it runs at a time. Never
   * rejects.
   */
  async probe(endpoint: URL): Promise<boolean> {
    return (await this.#running.run(endpoint.origin, () => this.#probe(endpoint))).value
  }

  /** Probes each endpoint that is unhealthy, and each that gave no answer for `quietMs`. */
  async run(quietMs: number): Promise<void> {
    await Promise.all(this.#deps.endpoints.silent(quietMs).map(endpoint => this.probe(endpoint)))
  }

  async #probe(endpoint: URL): Promise<boolean> {
    const { connections, endpoints, observe, timeoutMs } = this.#deps
    const request = { method: 'GET', url: new URL('/', endpoint), headers: {}, cargo: 'probe', follows: () => false } as const
    try {
      const response = await send(connections, request, AbortSignal.timeout(timeoutMs))
      await drain(response.body)
      endpoints.reached(endpoint)
      observe({ type: 'probe', endpoint: endpoint.host, result: 'answered' })
      return true
    } catch (cause) {
      const refused = cause instanceof UpstreamError && cause.kind === 'refused'
      // A redirect is an answer.
      if (refused) endpoints.reached(endpoint)
      else endpoints.missed(endpoint, cause instanceof UpstreamError ? cause : silent(endpoint, timeoutMs))
      observe({ type: 'probe', endpoint: endpoint.host, result: refused ? 'answered' : 'failed' })
      return refused
    }
  }
}

function silent({ host }: URL, timeoutMs: number): UpstreamError {
  return new UpstreamError('timeout', `${host}: GET / was not answered within ${timeoutMs} ms`, { endpoint: host })
}
