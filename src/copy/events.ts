import type { Digest } from '../oci/digest.ts'
import type { Tag } from '../oci/name.ts'

/** What a copy reports. Sizes are in bytes. `failed` or `done` is the last event. */
export type CopyEvent =
  | {
      type: 'blob'
      digest: Digest
      size: number
      /** `present`: the target had it; `skipped`: non-distributable, so its descriptor says where it is. */
      result: 'copied' | 'mounted' | 'present' | 'skipped'
    }
  | {
      type: 'manifest'
      /** As it is at the target. */
      digest: Digest
      size: number
      mediaType: string
      result: 'copied' | 'present'
      /** The source's digest of an index from which platforms were left out. */
      rewrittenFrom?: Digest
    }
  /** Of the blobs found so far: bytes that are at the target, and all bytes. */
  | { type: 'progress'; bytes: number; knownBytes: number }
  | {
      type: 'done'
      /** Of the root at the target. */
      digest: Digest
      tags: readonly Tag[]
      manifests: number
      blobs: number
      /** Of the blobs, those that were sent, and their bytes. */
      copiedBlobs: number
      copiedBytes: number
    }
  /** `digest` is the blob or manifest that could not be copied, where it was one. */
  | { type: 'failed'; reason: string; error: unknown; digest?: Digest }

/**
 * Events between a task that produces them and a consumer that may be slower: of several progress events the last one
 * is kept.
 */
export class EventQueue<Event extends { type: string } = CopyEvent> {
  #events: Event[] = []
  #end: { error?: unknown } | undefined
  #wake: (() => void) | undefined

  push(event: Event): void {
    if (event.type === 'progress' && this.#events.at(-1)?.type === 'progress') this.#events.pop()
    this.#events.push(event)
    this.#wake?.()
  }

  /** Ends the events; with an error, the consumer gets it after them. */
  end(error?: unknown): void {
    this.#end ??= error === undefined ? {} : { error }
    this.#wake?.()
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Event, void> {
    for (;;) {
      const events = this.#events
      this.#events = []
      yield* events
      if (this.#events.length > 0) continue
      if (this.#end && 'error' in this.#end) throw this.#end.error
      if (this.#end) return
      await new Promise<void>(resolve => {
        this.#wake = resolve
      })
    }
  }
}
