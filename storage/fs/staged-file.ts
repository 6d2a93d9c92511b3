import type { Key, OpenObject, StagedWriter, Writer } from '../storage.ts'

/** A file that grows and is read at once, through a handle of its own that a rename or a removal leaves as it is. */
export class StagedFile implements StagedWriter {
  readonly reader: OpenObject
  readonly #writer: Writer

  constructor(writer: Writer, written: OpenObject) {
    this.#writer = writer
    this.reader = written
  }

  get key(): Key {
    return this.#writer.key
  }

  get offset(): number {
    return this.#writer.offset
  }

  write(chunks: readonly Uint8Array[], signal?: AbortSignal): Promise<void> {
    return this.#writer.write(chunks, signal)
  }

  truncate(offset: number): Promise<void> {
    return this.#writer.truncate(offset)
  }

  read(into: Buffer, position: number): Promise<number> {
    return this.#writer.read(into, position)
  }

  fingerprint(offset: number): string | undefined {
    return this.#writer.fingerprint(offset)
  }

  publish(to: Key): Promise<void> {
    return this.#writer.publish(to)
  }

  discard(): Promise<void> {
    return this.#writer.discard()
  }

  close(): Promise<void> {
    return this.#writer.close()
  }
}
