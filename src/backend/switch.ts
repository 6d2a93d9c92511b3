import type { Mode } from '../../config/schema.ts'
import type { Backend } from './backend.ts'

/** The backend of each namespace (`ns=`). */
export interface Backends {
  /** For requests without `ns=`, or with one of `names`. */
  own: Backend & { readonly mode: Mode }
  /** This registry's own names, in lower case. */
  names: ReadonlySet<string>
  /** Of other namespaces, by host in lower case. */
  byHost: ReadonlyMap<string, Backend>
}

/** The backends in force. They are replaced as a whole; a request keeps its backend to its end. */
export class BackendSwitch {
  #current: Backends

  constructor(first: Backends) {
    this.#current = first
  }

  get mode(): Mode {
    return this.#current.own.mode
  }

  /** Undefined for an `ns` that is not configured: it is never connected to (SSRF). */
  backendFor(ns: string | undefined): Backend | undefined {
    if (ns === undefined) return this.#current.own
    const host = ns.toLowerCase()
    return this.#current.names.has(host) ? this.#current.own : this.#current.byHost.get(host)
  }

  replace(next: Backends): void {
    this.#current = next
  }
}
