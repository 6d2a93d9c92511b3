/**
 * Calls `task` with each chunk of `body`, in order. Like `for await`, but an error of the body is told apart from one
 * of `task`: it is thrown as `wrap` makes it. `body` is closed if `task` throws. One generator less around each chunk
 * than a wrapper of `body`.
 */
export async function forEachChunk(
  body: AsyncIterable<Uint8Array>,
  wrap: (error: unknown) => Error,
  task: (chunk: Uint8Array) => Promise<void> | void
): Promise<void> {
  const chunks = body[Symbol.asyncIterator]()
  for (;;) {
    let next: IteratorResult<Uint8Array>
    try {
      next = await chunks.next()
    } catch (error) {
      throw wrap(error)
    }
    if (next.done) return
    try {
      const working = task(next.value)
      if (working) await working
    } catch (error) {
      // The first error counts.
      await chunks.return?.().catch(() => {})
      throw error
    }
  }
}
