import { readFile } from 'node:fs/promises'
import { text } from 'node:stream/consumers'
import { parseReferenceList } from '../why/verify-text.ts'

/** A file's lines where a file is named, `-` for the standard input, and any other word is a reference itself. */
export async function referencesOf(given: readonly string[]): Promise<string[]> {
  const parts = await Promise.all(given.map(async each => parseReferenceList((await textOf(each)) ?? each)))
  return parts.flat()
}

async function textOf(given: string): Promise<string | undefined> {
  // Not by its path: a standard input that is a socket cannot be opened.
  if (given === '-') return text(process.stdin)
  try {
    return await readFile(given, 'utf8')
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    // `system/deckhouse:v1` is a path as well; what was certainly meant as a file is a fault.
    if ((code === 'ENOENT' || code === 'ENOTDIR') && !/^\.{0,2}\//.test(given)) return undefined
    throw error
  }
}
