import { type IncomingMessage, type OutgoingHttpHeader, type OutgoingHttpHeaders, ServerResponse } from 'node:http'

/** The field that forbids a browser to guess another type than the one that is named (Fetch, "nosniff"). */
export const noSniff = { name: 'x-content-type-options', value: 'nosniff' } as const

type Headers = OutgoingHttpHeaders | OutgoingHttpHeader[]

/**
 * A response that carries `X-Content-Type-Options: nosniff`, whichever code writes its head: what a stranger pushed, or
 * an upstream sent, is no page.
 */
export class PlainResponse<Request extends IncomingMessage = IncomingMessage> extends ServerResponse<Request> {
  override writeHead(status: number, headers?: Headers): this
  override writeHead(status: number, message?: string, headers?: Headers): this
  override writeHead(status: number, first?: string | Headers, second?: Headers): this {
    // Cheaper than `setHeader`, with which Node checks and copies all other fields, too.
    if (first === undefined || (typeof first === 'object' && !Array.isArray(first)))
      return super.writeHead(status, { ...first, [noSniff.name]: noSniff.value })
    this.setHeader(noSniff.name, noSniff.value)
    return typeof first === 'string' ? super.writeHead(status, first, second) : super.writeHead(status, first)
  }
}
