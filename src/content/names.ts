import type { Storage, WalkEntry } from '../../storage/storage.ts'
import type { Name } from '../oci/name.ts'
import type { Page, PageRequest } from '../oci/source.ts'
import * as keys from './keys.ts'
import { takePage } from './tags.ts'
import { listNames, lookAtName } from './walk.ts'

/** The repositories that exist. */
export class Names {
  readonly #storage: Storage

  constructor(storage: Storage) {
    this.#storage = storage
  }

  /** In byte order of the whole name: `a-b` comes before `a/b`. */
  list({ n, last }: PageRequest): Promise<Page<Name>> {
    return takePage(listNames(this.#storage, keys.repositories, isContent, last), n)
  }

  /** All repositories in the same order, also those that have nothing but upload sessions. */
  all(): AsyncIterable<Name> {
    return listNames(this.#storage, keys.repositories, entry => isContent(entry) || entry.name === '_uploads')
  }

  /** Whether anything was ever pushed to `name`, or cached in it. */
  async has(name: Name): Promise<boolean> {
    return (await lookAtName(this.#storage, keys.repository(name), isContent)).hasContent
  }
}

function isContent(entry: WalkEntry): boolean {
  return entry.kind === 'prefix' && (entry.name === '_layers' || entry.name === '_manifests')
}
