import { setImmediate } from 'node:timers/promises'
import { isJsonObject, type JsonObject, parseMetered } from '../../oci/json.ts'
import type { AnswerReader } from '../answer-reader.ts'
import { nextLink } from '../connection/headers.ts'
import { abandon } from '../connection/read-body.ts'
import type { UpstreamResponse } from '../endpoint-client.ts'
import type { UpstreamError } from '../error.ts'
import type { FailoverClient } from '../failover.ts'
import { unusableResponse } from '../failure.ts'

/** One page of a list; `next` is the following page at the same endpoint. */
export interface ListPage<T> {
  items: T[]
  next?: URL
}

/** Reads the entries from a JSON object; undefined if it has no list where one belongs. */
export type ParseItems<T> = (value: JsonObject) => T[] | undefined

// Some 200,000 tags. A client that asks with `n` gets pages, however long the list is.
const maxListBytes = 8 * 1024 * 1024

/** A reader of lists, whose limits are those of all pages of a list together. */
export function listReader(client: FailoverClient): AnswerReader {
  return client.answers.reader({ what: 'list', bytes: maxListBytes })
}

/** Reads one page of the list at `path`; UpstreamError if the response is not a page. */
export async function readPage<T>(
  answer: UpstreamResponse,
  { reader, parse, path }: { reader: AnswerReader; parse: ParseItems<T>; path: string }
): Promise<ListPage<T>> {
  const value = await readObject(answer, reader)
  // Parsing and looking at every entry are each some 20 ms for the longest list.
  await setImmediate()
  const items = parse(value)
  if (!items) throw invalid(answer, 'the response has no list')
  const target = nextLink(answer.headers.link)
  return target === undefined ? { items } : { items, next: nextPage.resolve(answer, target, path) }
}

async function readObject(answer: UpstreamResponse, reader: AnswerReader): Promise<JsonObject> {
  if (answer.status !== 200) {
    abandon(answer.body)
    throw invalid(answer, `${answer.status} is not a valid status here`)
  }
  const value = parse(await reader.read(answer))
  if (!isJsonObject(value)) throw invalid(answer, 'the response is not a JSON object')
  return value
}

function parse(bytes: Buffer): unknown {
  try {
    return parseMetered(bytes)
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
