import { randomUUID } from 'node:crypto'
import { open, readFile, realpath, rename, rm, stat } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import type { Config } from '../../config/schema.ts'
import { parsePins } from '../backend/pinned-references.ts'
import { MalformedReference, parsePodReference } from '../oci/pod-reference.ts'

/**
 * The patterns that pin the references: without the host, except for that of a further upstream. Malformed references
 * have none.
 */
export function pinsOf(references: readonly string[], { registry: { upstreams } }: Config): string[] {
  const hosts = new Set(Object.keys(upstreams).map(each => each.toLowerCase()))
  return references.flatMap(text => {
    try {
      const { host, name, reference } = parsePodReference(text)
      const stored = host !== undefined && hosts.has(host) ? `${host}/${name}` : name
      return reference.tag === undefined ? `${stored}@${reference.digest}` : `${stored}:${reference.tag}`
    } catch (error) {
      if (error instanceof MalformedReference) return []
      throw error
    }
  })
}

/**
 * Appends the patterns that the file does not have yet, all or none of them; resolves to their number. Keeps all lines
 * of the file.
 */
export async function appendPins(file: string, patterns: readonly string[]): Promise<number> {
  try {
    return await append(await realpath(file).catch(ifAbsent(file)), patterns)
  } catch (error) {
    throw new Error(`nothing was pinned, since cache.pinFile cannot be written: ${(error as Error).message}`, { cause: error })
  }
}

async function append(file: string, patterns: readonly string[]): Promise<number> {
  const text = await readFile(file, 'utf8').catch(ifAbsent(''))
  const known = new Set(parsePins(text))
  const added = [...new Set(patterns)].filter(each => !known.has(each))
  if (added.length === 0) return 0
  const { mode } = await stat(file).catch(ifAbsent({ mode: 0o644 }))
  const lines = added.map(each => `${each}\n`).join('')
  await replace(file, `${text}${text === '' || text.endsWith('\n') ? '' : '\n'}${lines}`, mode & 0o777)
  return added.length
}

// Readers find the old file or the new one, also after a crash.
async function replace(file: string, text: string, mode: number): Promise<void> {
  const temporary = join(dirname(file), `.${basename(file)}.${randomUUID()}`)
  try {
    await writeSynced(temporary, 'wx', mode, text)
    await rename(temporary, file)
  } catch (error) {
    await rm(temporary, { force: true })
    throw error
  }
  await writeSynced(dirname(file), 'r')
}

async function writeSynced(path: string, flags: string, mode?: number, text?: string): Promise<void> {
  const handle = await open(path, flags, mode)
  try {
    if (text !== undefined) await handle.writeFile(text)
    await handle.sync()
  } finally {
    await handle.close()
  }
}

function ifAbsent<T>(value: T): (error: NodeJS.ErrnoException) => T {
  return error => {
    if (error.code === 'ENOENT') return value
    throw error
  }
}
