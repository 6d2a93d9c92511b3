import type { Access, Identity } from './access.ts'
import { isGranted, isGrantedForAll, type Permission } from './grants.ts'

/** The sender of a request, with the access rights that were in force when the request arrived. */
export class AuthenticatedCaller {
  readonly #access: Access
  readonly #identity: Identity

  constructor(access: Access, identity: Identity) {
    this.#access = access
    this.#identity = identity
  }

  /** Undefined if anonymous. */
  get user(): string | undefined {
    return this.#identity.user
  }

  /** Throws UNAUTHORIZED or DENIED; `open` requires nothing, `base` what `GET /v2/` does. */
  require(need: 'open' | 'base' | Permission, name?: string, host?: string): void {
    if (need === 'base') this.#access.authorizeBase(this.#identity)
    else if (need !== 'open') this.#access.authorize(this.#identity, need, name, host)
  }

  /** Whether it may pull from a repository of this registry or, with `host`, of that upstream. */
  mayPull(name: string, host?: string): boolean {
    const { grants, scope } = this.#identity
    return isGranted(grants, 'pull', name, host) && (scope === undefined || scope.allows('pull', name))
  }

  /** Whether it may pull from all repositories there. A token is never issued for all. */
  mayPullAll(host?: string): boolean {
    const { grants, scope } = this.#identity
    return scope === undefined && isGrantedForAll(grants, 'pull', host)
  }

  /** Whether a list of repositories may name this one: if its user may pull from it. */
  mayList(name: string, host?: string): boolean {
    return isGranted(this.#identity.grants, 'pull', name, host)
  }

  /** Whether a list may name all repositories there. */
  mayListAll(host?: string): boolean {
    return isGrantedForAll(this.#identity.grants, 'pull', host)
  }
}
