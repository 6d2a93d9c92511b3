import type { IncomingMessage, RequestListener, Server, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import { answerParserError } from '../listen.ts'
import { nextRequestId } from '../request-id.ts'

/** A server whose requests one function answers: as an app does, without a framework in memory. */
export function createPlainServer(
  createServer: (listener: RequestListener) => Server,
  answer: (request: IncomingMessage, response: ServerResponse, id: string) => void
): Server {
  const server = createServer((request, response) => answer(request, response, nextRequestId()))
  server.on('clientError', (error, socket) => answerParserError(error, socket as Socket))
  return server
}
