import { readFile } from 'node:fs/promises'
import { parseSet } from '../why/set.ts'

/** A file's lines where a file is named, `-` for the standard input, and any other word is a reference itself. */
export async function referencesOf(given: readonly string[]): Promise<string[]> {
  const parts = await Promise.all(given.map(async each => parseSet((await textOf(each)) ?? each)))
  return parts.flat()
}

async function textOf(given: string): Promise<string | undefined> {
  try {
    return await readFile(given === '-' ? '/dev/stdin' : given, 'utf8')
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    // `system/deckhouse:v1` is a path as well; what was certainly meant as a file is a fault.
    if ((code === 'ENOENT' || code === 'ENOTDIR') && !/^\.{0,2}\//.test(given)) return undefined
    throw error
  }
}
