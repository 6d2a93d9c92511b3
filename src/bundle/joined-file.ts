import { type FileHandle, open } from 'node:fs/promises'
import { basename } from 'node:path'
import type { PositionedBytes } from './tar/entries.ts'

interface JoinedPart {
  path: string
  handle: FileHandle
  begin: number
  end: number
}

/**
 * Files that are one: an archive, or the chunks of one, in their order. Opened for reading, and closed by its owner.
 */
export class JoinedFile implements PositionedBytes, AsyncDisposable {
  readonly size: number
  readonly #parts: readonly JoinedPart[]

  private constructor(parts: readonly JoinedPart[]) {
    this.#parts = parts
    this.size = parts.at(-1)?.end ?? 0
  }

  /** Opens the files; rejects, with none left open, if one cannot be. */
  static async open(paths: readonly string[]): Promise<JoinedFile> {
    const parts: JoinedPart[] = []
    let begin = 0
    try {
      for (const path of paths) {
        const handle = await open(path, 'r')
        parts.push({ path, handle, begin, end: begin })
        const { size } = await handle.stat()
        parts.splice(-1, 1, { path, handle, begin, end: begin + size })
        begin += size
      }
      return new JoinedFile(parts)
    } catch (error) {
      await Promise.all(parts.map(each => each.handle.close()))
      throw error
    }
  }

  async read(into: Buffer, position: number): Promise<number> {
    let filled = 0
    while (filled < into.length) {
      const part = this.#partAt(position + filled)
      if (!part) break
      const at = position + filled
      const length = Math.min(into.length - filled, part.end - at)
      const { bytesRead } = await part.handle.read(into, filled, length, at - part.begin)
      if (bytesRead === 0) throw new Error(`${part.path} became shorter while it was read`)
      filled += bytesRead
    }
    return filled
  }

  /** The file that has the byte at `position`, and where in it; the end of the last file for a position past all. */
  placeOf(position: number): { file: string; offset: number } {
    const part = this.#partAt(position) ?? this.#parts.at(-1)
    return { file: basename(part?.path ?? ''), offset: position - (part?.begin ?? 0) }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#parts.map(each => each.handle.close()))
  }

  // Mostly one part, and some hundred at most.
  #partAt(position: number): JoinedPart | undefined {
    return this.#parts.find(each => position >= each.begin && position < each.end)
  }
}
