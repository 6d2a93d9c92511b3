import { hash, timingSafeEqual } from 'node:crypto'
import { parseBasic } from '../access/basic.ts'
import { passwordRequired } from '../access/challenge.ts'
import type { Caller } from '../api/exchange.ts'

/** The password of all clients. */
export interface ClientPassword {
  readonly username: string
  readonly password: string
}

/** Who may use the agent: all clients, or those that send its password. */
export class Clients {
  #expected: { caller: Caller; user: Buffer; password: Buffer } | undefined

  constructor(settings: ClientPassword | undefined) {
    this.use(settings)
  }

  /** Replaces the password; without one all clients are served. */
  use(settings: ClientPassword | undefined): void {
    this.#expected = settings && {
      caller: callerOf(settings.username),
      user: digestOf(settings.username),
      password: digestOf(settings.password)
    }
  }

  /** The sender of a request with this `Authorization`; UNAUTHORIZED (401) for another password, in constant time. */
  identify(authorization: string | undefined): Caller {
    if (!this.#expected) return anyone
    const presented = authorization === undefined ? undefined : parseBasic(authorization)
    if (presented === undefined || presented === 'empty') throw passwordRequired('the agent requires its user and password (Basic)')
    // Both are compared, and as digests: neither the length nor what is wrong shows in the time.
    const sameUser = timingSafeEqual(digestOf(presented.user), this.#expected.user)
    const samePassword = timingSafeEqual(digestOf(presented.password), this.#expected.password)
    if (sameUser && samePassword) return this.#expected.caller
    throw passwordRequired('wrong user or password')
  }
}

function digestOf(secret: string | Buffer): Buffer {
  return hash('sha256', secret, 'buffer')
}

// The replicas decide what the user of the agent may do there.
function callerOf(user: string | undefined): Caller {
  return {
    ...(user === undefined ? {} : { user }),
    require: () => {},
    mayPull: () => true,
    mayPullAll: () => true,
    mayList: () => true,
    mayListAll: () => true
  }
}

const anyone = callerOf(undefined)
