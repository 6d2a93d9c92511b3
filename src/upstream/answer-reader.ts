import { createSemaphore } from '../../storage/semaphore.ts'
import { JsonMeter, JsonTooCostly } from '../oci/json-meter.ts'
import { lengthOf } from './connection/headers.ts'
import { abandon, BodyTooLong } from './connection/read-body.ts'
import type { UpstreamResponse } from './endpoint-client.ts'
import { connectionError, unusableResponse } from './failure.ts'

// What is no larger is read at once. A manifest has some KiB, a page of a list some tens of them.
const smallBytes = 256 * 1024
// Of 8 MiB each at most, and up to four times as much while they are parsed.
const maxLargeAnswers = 4

/** The limits of an answer, or of all pages of a list together. */
export interface AnswerLimits {
  /** What is read, for messages. */
  what: 'manifest' | 'list'
  bytes: number
}

/**
 * The answers of one upstream that are held in memory as a whole. However many requests are under way, few large ones
 * are read at the same time; the others wait, with their connections paused.
 */
export class Answers {
  readonly #large = createSemaphore(maxLargeAnswers)

  /** A reader for one answer, or for the pages of one list. Dispose of it when what was read has become small. */
  reader(limits: AnswerLimits): AnswerReader {
    return new AnswerReader(limits, () => this.#acquire())
  }

  async #acquire(): Promise<() => void> {
    const { promise: released, resolve: release } = Promise.withResolvers<void>()
    await new Promise<void>(ready => {
      void this.#large(() => {
        ready()
        return released
      })
    })
    return release
  }
}

/** Reads bodies of JSON, and counts while they arrive what they will cost to parse. */
export class AnswerReader implements Disposable {
  readonly #limits: AnswerLimits
  readonly #acquire: () => Promise<() => void>
  readonly #meter: JsonMeter
  #bytes = 0
  #release: (() => void) | undefined

  constructor(limits: AnswerLimits, acquire: () => Promise<() => void>) {
    this.#limits = limits
    this.#acquire = acquire
    this.#meter = new JsonMeter({ what: limits.what })
  }

  /** The bytes of a body, whose cost is within the limits; else an UpstreamError of the kind `invalid`. */
  async read(answer: UpstreamResponse): Promise<Buffer> {
    const { body, headers } = answer
    const chunks: Buffer[] = []
    this.#meter.next()
    try {
      this.#count(lengthOf(headers) ?? 0, this.#bytes)
      for await (const chunk of body) {
        this.#bytes = this.#count(chunk.length, this.#bytes)
        this.#meter.add(chunk)
        chunks.push(chunk)
        if (this.#bytes > smallBytes) this.#release ??= await this.#acquire()
      }
      return Buffer.concat(chunks)
    } catch (cause) {
      abandon(body)
      if (cause instanceof BodyTooLong || cause instanceof JsonTooCostly) throw unusableResponse('invalid', cause.message, answer, 'SIZE')
      throw connectionError(cause, answer.endpoint.host, answer.text)
    }
  }

  #count(further: number, before: number): number {
    const { bytes: limit } = this.#limits
    if (before + further > limit) throw new BodyTooLong(limit)
    return before + further
  }

  [Symbol.dispose](): void {
    this.#release?.()
    this.#release = undefined
  }
}
