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
 * The events of a task, which runs while they are read and ends when they are no longer read: its signal is then
 * aborted. Its error is thrown after its last event. `name` is that of the task, for the reason.
 */
export async function* eventsOf<Event extends { type: string }>(
  name: string,
  aborted: AbortSignal,
  task: (signal: AbortSignal, report: (event: Event) => void) => Promise<void>
): AsyncGenerator<Event, void> {
  const left = new AbortController()
  const queue = new EventQueue<Event>()
  const running = task(AbortSignal.any([aborted, left.signal]), event => queue.push(event)).then(
    () => queue.end(),
    error => queue.end(error)
  )
  try {
    yield* queue
  } finally {
    left.abort(new Error(`the events of the ${name} are no longer read`))
    await running
  }
}

/**
 * Events between a task that produces them and a consumer that may be slower: of several progress events the last one
 * is kept.
 */
class EventQueue<Event extends { type: string }> {
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
