import { readFile } from 'node:fs/promises'
import { Agent, request } from 'undici'
import type { Certificate } from './authority.ts'

/** An object of the API, or a list of them. */
// biome-ignore lint/suspicious/noExplicitAny: tests compare what an API server answers, whatever its kind
export type ApiObject = any

/** The API server as a user with a client certificate sees it. Paths are those of the Kubernetes API ("API Concepts", "Resource URIs"). */
export class Api {
  readonly #url: string
  readonly #agent: Agent

  private constructor(url: string, agent: Agent) {
    this.#url = url
    this.#agent = agent
  }

  /** Connects as the certificate's user. */
  static async connect(url: string, authority: string, { certificate, key }: Certificate): Promise<Api> {
    const [ca, cert, secret] = await Promise.all([authority, certificate, key].map(file => readFile(file)))
    return new Api(url, new Agent({ connect: { ca, cert, key: secret } as object }))
  }

  /** Reads an object; undefined where there is none. */
  async find(path: string): Promise<ApiObject | undefined> {
    const { status, body } = await this.#ask('GET', path)
    return status === 404 ? undefined : answered('GET', path, status, body)
  }

  /** Creates or changes an object by server-side apply. */
  async apply(path: string, object: object): Promise<ApiObject> {
    const query = 'fieldManager=test&force=true'
    const { status, body } = await this.#ask('PATCH', `${path}?${query}`, JSON.stringify(object), 'application/apply-patch+yaml')
    return answered('PATCH', path, status, body)
  }

  /** Changes an object by a merge patch (RFC 7386). */
  async patch(path: string, changes: object): Promise<ApiObject> {
    const { status, body } = await this.#ask('PATCH', path, JSON.stringify(changes), 'application/merge-patch+json')
    return answered('PATCH', path, status, body)
  }

  /** Deletes an object, if it is there. */
  async delete(path: string): Promise<void> {
    const { status, body } = await this.#ask('DELETE', path)
    if (status !== 404) answered('DELETE', path, status, body)
  }

  /** The answer to a request as it is, in text: `/readyz`, logs of a container. */
  async text(path: string): Promise<{ status: number; body: string }> {
    return await this.#ask('GET', path)
  }

  /** Ends its connections. */
  async close(): Promise<void> {
    await this.#agent.destroy()
  }

  async #ask(method: 'GET' | 'PATCH' | 'DELETE', path: string, body?: string, type?: string): Promise<{ status: number; body: string }> {
    const headers = type === undefined ? {} : { 'content-type': type }
    const answer = await request(`${this.#url}${path}`, {
      dispatcher: this.#agent,
      method,
      headers,
      ...(body === undefined ? {} : { body })
    })
    return { status: answer.statusCode, body: await answer.body.text() }
  }
}

function answered(method: string, path: string, status: number, body: string): ApiObject {
  if (status >= 200 && status < 300) return JSON.parse(body)
  throw new Error(`${method} ${path} answered ${status}: ${body}`)
}
