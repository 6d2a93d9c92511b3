import { nextLink } from './connection/headers.ts'
import { abandon, BodyTooLong, readBytes } from './connection/read-body.ts'
import type { UpstreamResponse } from './endpoint-client.ts'
import type { UpstreamError } from './error.ts'
import { connectionError, unusableResponse } from './failure.ts'

/** One page of a list; `next` is the following page at the same endpoint. */
export interface ListPage<T> {
  items: T[]
  next?: URL
}

/** Reads the entries from a JSON object; undefined if it has no list where one belongs. */
export type ParseItems<T> = (value: Record<string, unknown>) => T[] | undefined

const maxPageBytes = 32 * 1024 * 1024

/** Reads one page of the list at `path`; UpstreamError if the response is not a page. */
export async function readPage<T>(answer: UpstreamResponse, parse: ParseItems<T>, path: string): Promise<ListPage<T>> {
  const items = parse(await readObject(answer))
  if (!items) throw invalid(answer, 'the response has no list')
  const target = nextLink(answer.headers.link)
  return target === undefined ? { items } : { items, next: nextPage.resolve(answer, target, path) }
}

async function readObject(answer: UpstreamResponse): Promise<Record<string, unknown>> {
  if (answer.status !== 200) {
    abandon(answer.body)
    throw invalid(answer, `${answer.status} is not a valid status here`)
  }
  const bytes = await readBytes(answer.body, maxPageBytes).catch(cause => {
    throw cause instanceof BodyTooLong ? invalid(answer, cause.message) : connectionError(cause, answer.endpoint.host, answer.text)
  })
  const value = parseJson(bytes)
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw invalid(answer, 'the response is not a JSON object')
  return value as Record<string, unknown>
}

function parseJson(bytes: Buffer): unknown {
  try {
    return JSON.parse(bytes.toString())
  } catch {
    return undefined
  }
}

/** The following page of a list. */
export const nextPage = {
  // Only path and query count: behind a reverse proxy a registry often has its own host name wrong, and no other host
  // gets our credentials.
  resolve(answer: UpstreamResponse, target: string, path: string): URL {
    const url = URL.parse(target, new URL(path, answer.endpoint).href)
    if (!url?.pathname.startsWith('/v2/')) throw invalid(answer, 'the next page is elsewhere')
    return new URL(url.pathname + url.search, answer.endpoint)
  },

  endless(answer: UpstreamResponse): UpstreamError {
    return invalid(answer, 'the list has no end')
  }
}

function invalid(response: UpstreamResponse, reason: string): UpstreamError {
  return unusableResponse('invalid', reason, response)
}
