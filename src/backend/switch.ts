import type { Mode } from '../../config/schema.ts'
import type { Backend } from './backend.ts'

/** Which backend answers for which `ns=`. */
export interface Backends {
  /** For requests without `ns=`, and with one of `names`. */
  own: Backend
  /** This registry's own names, in lower case. */
  names: ReadonlySet<string>
  /** Further upstreams by host, in lower case. */
  byHost: ReadonlyMap<string, Backend>
}

/** The backends in force. They are replaced at once and as a whole; a request that has its backend keeps it to its end. */
export class BackendSwitch {
  #current: Backends

  constructor(first: Backends) {
    this.#current = first
  }

  get mode(): Mode {
    return this.#current.own.mode
  }

  /** A closed world: an `ns` that is not configured is no host to dial, it is undefined. */
  backendFor(ns: string | undefined): Backend | undefined {
    if (ns === undefined) return this.#current.own
    const host = ns.toLowerCase()
    return this.#current.names.has(host) ? this.#current.own : this.#current.byHost.get(host)
  }

  replace(next: Backends): void {
    this.#current = next
  }
}
