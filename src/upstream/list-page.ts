import { nextLink } from './connection/headers.ts'
import { abandon, BodyTooLong, readBytes } from './connection/read-body.ts'
import type { UpstreamResponse } from './endpoint-client.ts'
import type { UpstreamError } from './error.ts'
import { connectionError, unusableResponse } from './failure.ts'

/** One answer of a list; `next` is the following page on the same endpoint. */
export interface ListPage<T> {
  items: T[]
  next?: URL
}

/** Takes the entries out of a JSON object; undefined if there is no list where one belongs. */
export type ParseItems<T> = (value: Record<string, unknown>) => T[] | undefined

const maxPageBytes = 32 * 1024 * 1024

/** Reads one page of the list at `path`; UpstreamError if it is none. */
export async function readPage<T>(answer: UpstreamResponse, parse: ParseItems<T>, path: string): Promise<ListPage<T>> {
  const items = parse(await readObject(answer))
  if (!items) throw invalid(answer, 'the answer holds no list')
  const target = nextLink(answer.headers.link)
  return target === undefined ? { items } : { items, next: nextPage.resolve(answer, target, path) }
}

async function readObject(answer: UpstreamResponse): Promise<Record<string, unknown>> {
  if (answer.status !== 200) {
    abandon(answer.body)
    throw invalid(answer, `${answer.status} is no answer to it`)
  }
  const bytes = await readBytes(answer.body, maxPageBytes).catch(cause => {
    throw cause instanceof BodyTooLong ? invalid(answer, cause.message) : connectionError(cause, answer.endpoint.host, answer.text)
  })
  const value = parseJson(bytes)
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw invalid(answer, 'the answer is not a JSON object')
  return value as Record<string, unknown>
}

function parseJson(bytes: Buffer): unknown {
  try {
    return JSON.parse(bytes.toString())
  } catch {
    return undefined
  }
}

/** Where a list goes on. */
export const nextPage = {
  // Only the path counts: what stands behind a reverse proxy often has its own name wrong, and no other host is asked with our authorization.
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
