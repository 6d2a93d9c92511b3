import { isName, isTag } from '../../oci/name.ts'
import type { Page, PageRequest } from '../../oci/source.ts'
import type { AnswerReader } from '../answer-reader.ts'
import type { UpstreamRequest, UpstreamResponse } from '../endpoint-client.ts'
import type { FailoverClient } from '../failover.ts'
import { type ListPage, listReader, nextPage, type ParseItems, readPage } from './list-page.ts'
import { sortUnique } from './sort-unique.ts'

// More than any registry has: such a list does not end.
const maxPages = 1000

/** Tags, in the upstream's order (byte order by the spec). */
export function listTags(client: FailoverClient, name: string, page: PageRequest, signal: AbortSignal): Promise<Page<string>> {
  const request: UpstreamRequest = { resource: 'tags', method: 'GET', path: `/v2/${name}/tags/list`, scope: `repository:${name}:pull` }
  return listTexts(client, request, page, { parse: textsOf('tags', isTag), signal })
}

/** Names of repositories. */
export function listNames(client: FailoverClient, page: PageRequest, signal: AbortSignal): Promise<Page<string>> {
  const request: UpstreamRequest = { resource: 'names', method: 'GET', path: '/v2/_catalog', scope: 'registry:catalog:*' }
  return listTexts(client, request, page, { parse: textsOf('repositories', isName), signal })
}

function listTexts(
  client: FailoverClient,
  request: UpstreamRequest,
  page: PageRequest,
  { parse, signal }: { parse: ParseItems<string>; signal: AbortSignal }
): Promise<Page<string>> {
  if (page.n === 0) return Promise.resolve({ items: [] })
  const path = withPage(request.path, page)
  return client.run({ ...request, path, headers: { accept: 'application/json' } }, signal, async answer => {
    using reader = listReader(client)
    const first = await readPage(answer, { reader, parse, path })
    const single = singlePage(first, page)
    if (single) return single
    const all = await readAllPages(client, request, first, { answer, reader, parse, signal })
    return select(await sortUnique(all, text => text), page)
  })
}

// A page is returned as it is if its last entry is the cursor of the next page. Otherwise (an opaque cursor, an
// upstream that ignores `n` or `last`, no `n` requested) the list is read to its end and paged here.
function singlePage({ items, next }: ListPage<string>, { n, last }: PageRequest): Page<string> | undefined {
  if (n === undefined || items.length > n) return undefined
  const [first] = items
  if (last !== undefined && first !== undefined && first <= last) return undefined
  if (next === undefined) return { items }
  const cursor = next.searchParams.get('last')
  return cursor !== null && cursor === items.at(-1) && cursor !== last ? { items, next: cursor } : undefined
}

/** All entries from a first page on, read from the same endpoint. */
export async function readAllPages<T>(
  client: FailoverClient,
  request: UpstreamRequest,
  first: ListPage<T>,
  { answer, reader, parse, signal }: { answer: UpstreamResponse; reader: AnswerReader; parse: ParseItems<T>; signal: AbortSignal }
): Promise<T[]> {
  const items = [...first.items]
  const seen = new Set<string>()
  let { next } = first
  while (next !== undefined && !seen.has(next.href) && seen.size < maxPages) {
    seen.add(next.href)
    const path = next.pathname + next.search
    const page: ListPage<T> = await readPage(await client.send(answer.endpoint, { ...request, path }, signal), { reader, parse, path })
    for (const item of page.items) items.push(item)
    next = page.next
  }
  if (next !== undefined) throw nextPage.endless(answer)
  return items
}

function select(all: string[], { n, last = '' }: PageRequest): Page<string> {
  const after = all.filter(each => each > last)
  const items = after.slice(0, n)
  const end = items.at(-1)
  return items.length < after.length && end !== undefined ? { items, next: end } : { items }
}

function withPage(path: string, { n, last }: PageRequest): string {
  const query = new URLSearchParams()
  if (n !== undefined) query.set('n', `${n}`)
  // An upstream may ignore `last`; then all is read and paged here.
  if (last !== undefined && last !== '') query.set('last', last)
  return query.size === 0 ? path : `${path}?${query}`
}

function textsOf(key: string, isText: (text: string) => boolean): ParseItems<string> {
  return value => {
    // The distribution-spec has both fields. A document with neither is another one, and no empty list.
    const list = value[key] ?? (key in value || typeof value['name'] === 'string' ? [] : undefined)
    return Array.isArray(list) ? list.filter((each): each is string => typeof each === 'string' && isText(each)) : undefined
  }
}
