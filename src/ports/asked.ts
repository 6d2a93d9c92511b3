import type { ServerResponse } from 'node:http'

/** Aborted when whoever asked has left: whoever stops a command has no use for the answer. */
export function whileAsked(response: ServerResponse): AbortSignal {
  const left = new AbortController()
  response.once('close', () => left.abort())
  return left.signal
}

/** One JSON object a line. */
export async function* lines(results: AsyncIterable<object>): AsyncIterable<string> {
  for await (const each of results) yield `${JSON.stringify(each)}\n`
}
