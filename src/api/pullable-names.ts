import type { Page, PageRequest, Served } from '../oci/source.ts'
import type { Exchange } from './exchange.ts'

/**
 * A page of the names from which the caller may pull. Where that is not all of them, the whole list is read: a cursor
 * of the backend could be one of the other names.
 */
export async function listPullableNames({ backend, caller, signal }: Exchange, page: PageRequest): Promise<Served<Page<string>>> {
  const { namespace } = backend
  if (caller.mayListAll(namespace)) return backend.listNames(page, signal)
  const { n, ...rest } = page
  const served = await backend.listNames(rest, signal)
  const names = served.value.items.filter(each => caller.mayList(each, namespace))
  const items = names.slice(0, n)
  const next = items.at(-1)
  return { ...served, value: items.length < names.length && next !== undefined ? { items, next } : { items } }
}
