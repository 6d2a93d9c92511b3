import { LRUCache } from 'lru-cache'

/** A verified token and when it ends, in milliseconds since the epoch. */
export interface Verified<V> {
  readonly value: V
  readonly endsAt: number
}

/** Longer tokens are refused unread: none that fits into the head of a request beside other fields is. */
export const maxTokenLength = 8 * 1024

// Some 12,000 tokens: those of 500 nodes that pull 22 images each.
const maxCacheBytes = 24 * 1024 * 1024
const entryBytes = 512

/** What is known with one set of keys. */
interface Generation<V> {
  readonly cache: LRUCache<string, Verified<V>>
  readonly running: Map<string, Promise<Verified<V>>>
}

/** Verified tokens, so that a token is verified once and not with each request. */
export class VerifiedTokens<V> {
  readonly #verify: (token: string) => Promise<Verified<V>>
  readonly #now: () => number
  readonly #maxBytes: number
  #current: Generation<V>

  constructor(options: { verify: (token: string) => Promise<Verified<V>>; now: () => number; maxBytes?: number }) {
    this.#verify = options.verify
    this.#now = options.now
    this.#maxBytes = options.maxBytes ?? maxCacheBytes
    this.#current = createGeneration(this.#maxBytes)
  }

  /** What the token says, if it was verified before and has not ended. */
  known(token: string): V | undefined {
    const found = this.#current.cache.get(token)
    return found && found.endsAt > this.#now() ? found.value : undefined
  }

  /** Verifies the token; requests with the same token share the work. Rejects as `verify` does. */
  async verify(token: string): Promise<V> {
    const { running } = this.#current
    return (await (running.get(token) ?? this.#start(token))).value
  }

  /** Forgets all tokens, also those being verified: the keys have changed. */
  forget(): void {
    this.#current = createGeneration(this.#maxBytes)
  }

  /** The number of tokens that are remembered. */
  get size(): number {
    return this.#current.cache.size
  }

  async #start(token: string): Promise<Verified<V>> {
    const { cache, running } = this.#current
    const job = this.#verify(token)
    running.set(token, job)
    try {
      const verified = await job
      cache.set(token, verified)
      return verified
    } finally {
      running.delete(token)
    }
  }
}

function createGeneration<V>(maxBytes: number): Generation<V> {
  const sizeCalculation = (_: unknown, token: string) => 2 * token.length + entryBytes
  return { cache: new LRUCache<string, Verified<V>>({ maxSize: maxBytes, sizeCalculation }), running: new Map() }
}
