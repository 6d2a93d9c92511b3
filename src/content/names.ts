import type { Storage, WalkEntry } from '../../storage/storage.ts'
import { isName, type Name } from '../oci/name.ts'
import type { Page, PageRequest } from '../oci/source.ts'
import * as keys from './keys.ts'
import { takePage } from './tags.ts'

/** The repositories that exist. */
export class Names {
  readonly #storage: Storage

  constructor(storage: Storage) {
    this.#storage = storage
  }

  /** In byte order of the whole name: `a-b` comes before `a/b`. */
  list({ n, last }: PageRequest): Promise<Page<Name>> {
    return takePage(this.#below('', last ?? ''), n)
  }

  /** All of them; also those that hold nothing but upload sessions. */
  async *all(): AsyncIterable<Name> {
    yield* this.#below('', '', '_uploads')
  }

  /** Whether anything was ever pushed to `name`. */
  async has(name: Name): Promise<boolean> {
    const { content } = await this.#look(name)
    return content
  }

  async *#below(prefix: string, after: string, also = ''): AsyncIterable<Name> {
    const { children } = await this.#look(prefix, also)
    // A child stands at its own name, what is below it at `<name>/`: `-` and `.` sort before `/`.
    const stops = children.flatMap(child => [
      { at: child, child },
      { at: `${child}/`, child }
    ])
    stops.sort((a, b) => (a.at < b.at ? -1 : 1))
    for (const { at, child } of stops) {
      const name = `${prefix}${child}`
      if (at !== child) {
        if (after < `${name}0`) yield* this.#below(`${name}/`, after, also)
      } else if (name > after && isName(name) && (await this.#look(name, also)).content) yield name
    }
  }

  async #look(name: string, also = ''): Promise<{ content: boolean; children: string[] }> {
    const children: string[] = []
    let content = false
    for await (const entry of this.#storage.walk(name === '' ? keys.repositories : keys.repository(name.replace(/\/$/, '')))) {
      if (isContent(entry) || entry.name === also) content = true
      else if (entry.kind === 'prefix' && !entry.name.startsWith('_')) children.push(entry.name)
    }
    return { content, children }
  }
}

function isContent(entry: WalkEntry): boolean {
  return entry.kind === 'prefix' && (entry.name === '_layers' || entry.name === '_manifests')
}
