import { type FileHandle, open, readdir, rename, rm, stat } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { archiveNameOf } from '../archives.ts'
import type { PositionedBytes } from '../tar/entries.ts'

interface Segment {
  /** Where it is when it is whole. */
  path: string
  begin: number
  end: number
  handle: FileHandle
  state: 'whole' | 'growing'
  /** Whether bytes of an earlier run may be in it. */
  isKnown: boolean
}

/** An archive that is there, and is another one. */
export class OtherArchive extends Error {
  override readonly name = 'OtherArchive'
}

/**
 * The files of an archive that is being written: one, or chunks of `chunkBytes`. Each grows under a name of its own
 * (`….tmp`), to which an interrupted run is found again, and gets its name when it is whole and durable.
 */
export class Segments implements PositionedBytes, AsyncDisposable {
  readonly size: number
  readonly #segments: readonly Segment[]

  private constructor(size: number, segments: readonly Segment[]) {
    this.size = size
    this.#segments = segments
  }

  /**
   * Opens what is there and makes what is not. OtherArchive if files are there that cannot be a part of this archive.
   */
  static async open(folder: string, { name, size }: { name: string; size: number }, chunkBytes: number | undefined): Promise<Segments> {
    const places = placesOf(folder, name, size, chunkBytes)
    await checkForeign(folder, name, new Set(places.map(each => each.path)))
    const segments: Segment[] = []
    try {
      for (const place of places) segments.push(await openSegment(place))
    } catch (error) {
      await Promise.all(segments.map(each => each.handle.close()))
      throw error
    }
    return new Segments(size, segments)
  }

  /** Whether all files have their names. */
  get isWhole(): boolean {
    return this.#segments.every(each => each.state === 'whole')
  }

  /** Whether an earlier run may have written all of these bytes. */
  isKnown(offset: number, length: number): boolean {
    return this.#over(offset, length).every(each => each.isKnown)
  }

  async read(into: Buffer, position: number): Promise<number> {
    let filled = 0
    for (const { begin, end, handle } of this.#over(position, into.length)) {
      const at = position + filled
      const { bytesRead } = await handle.read(into, filled, Math.min(into.length - filled, end - at), at - begin)
      filled += bytesRead
      if (position + filled < end) break
    }
    return filled
  }

  /** OtherArchive if that would change a file that is whole. */
  async write(bytes: Buffer, position: number): Promise<void> {
    let written = 0
    for (const segment of this.#over(position, bytes.length)) {
      const at = position + written
      const part = bytes.subarray(written, written + Math.min(bytes.length - written, segment.end - at))
      if (segment.state === 'growing') await writeAll(segment.handle, part, at - segment.begin)
      else if (!(await hasBytes(segment.handle, part, at - segment.begin))) throw new OtherArchive(`${segment.path} ${otherBundle}`)
      written += part.length
    }
  }

  /**
   * Gives the files their names, of which `isComplete` says that all bytes of them are written; durable when it
   * resolves.
   */
  async finish(isComplete: (offset: number, length: number) => boolean): Promise<void> {
    for (const segment of this.#segments) {
      if (segment.state === 'whole' || !isComplete(segment.begin, segment.end - segment.begin)) continue
      segment.state = 'whole'
      await segment.handle.sync()
      await rename(`${segment.path}.tmp`, segment.path)
      const folder = await open(dirname(segment.path), 'r')
      await folder.sync().finally(() => folder.close())
    }
  }

  /** Removes the files that are not whole. */
  async removeGrowing(): Promise<void> {
    for (const each of this.#segments) if (each.state === 'growing') await rm(`${each.path}.tmp`, { force: true })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#segments.map(each => each.handle.close()))
  }

  #over(offset: number, length: number): Segment[] {
    return this.#segments.filter(each => each.begin < offset + length && offset < each.end)
  }
}

const otherBundle = 'is there, and is of another bundle: move it away, or name another directory'

async function writeAll(handle: FileHandle, bytes: Buffer, position: number): Promise<void> {
  for (let done = 0; done < bytes.length; ) done += (await handle.write(bytes, done, bytes.length - done, position + done)).bytesWritten
}

// A blob that lies in two files is written anew when one of them was lost.
async function hasBytes(handle: FileHandle, bytes: Buffer, position: number): Promise<boolean> {
  const there = Buffer.alloc(bytes.length)
  const { bytesRead } = await handle.read(there, 0, there.length, position)
  return bytesRead === bytes.length && there.equals(bytes)
}

function placesOf(
  folder: string,
  name: string,
  size: number,
  chunkBytes: number | undefined
): { path: string; begin: number; end: number }[] {
  if (chunkBytes === undefined) return [{ path: join(folder, name), begin: 0, end: size }]
  return Array.from({ length: Math.ceil(size / chunkBytes) }, (_, at) => ({
    path: join(folder, `${name}.${String(at).padStart(4, '0')}.chunk`),
    begin: at * chunkBytes,
    end: Math.min(size, (at + 1) * chunkBytes)
  }))
}

// A chunk too many would be read as a part of the archive.
async function checkForeign(folder: string, name: string, own: ReadonlySet<string>): Promise<void> {
  for (const file of await readdir(folder)) {
    if (archiveNameOf(file)?.name !== name || own.has(join(folder, file))) continue
    throw new OtherArchive(
      `${join(folder, file)} is of another bundle, or was written with another --chunk-size: move it away, or name another directory`
    )
  }
}

async function openSegment({ path, begin, end }: { path: string; begin: number; end: number }): Promise<Segment> {
  const whole = await stat(path).catch(absent)
  if (whole) {
    if (whole.size !== end - begin) throw new OtherArchive(`${path} ${otherBundle}`)
    return { path, begin, end, handle: await open(path, 'r'), state: 'whole', isKnown: true }
  }
  const before = await stat(`${path}.tmp`).catch(absent)
  const isKnown = before?.size === end - begin
  const handle = await open(`${path}.tmp`, isKnown ? 'r+' : 'w+', 0o644)
  try {
    if (!isKnown) await handle.truncate(end - begin)
  } catch (error) {
    await handle.close()
    throw error
  }
  return { path, begin, end, handle, state: 'growing', isKnown }
}

function absent(error: NodeJS.ErrnoException): undefined {
  if (error.code !== 'ENOENT') throw error
}
