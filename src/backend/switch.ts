import type { Mode } from '../../config/schema.ts'
import type { Backend } from './backend.ts'

/** The backend of each namespace (`ns=`). */
export interface Backends {
  /** For requests without `ns=`, or with one of `names`. */
  own: Backend & { readonly mode: Mode }
  /** In Proxy: what is stored here, and nothing that would have to be fetched. */
  stored?: Backend
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

  /**
   * The backend for a request that wants no content but what is stored (RFC 9111 §5.2.1.7, `only-if-cached`), of this
   * registry's own. Unlike at a cache of the web, what is not stored is not found.
   */
  storedFor(ns: string | undefined): Backend | undefined {
    const backend = this.backendFor(ns)
    return backend === this.#current.own ? (this.#current.stored ?? backend) : backend
  }

  replace(next: Backends): void {
    this.#current = next
  }
}
