import { readFile } from 'node:fs/promises'
import { text } from 'node:stream/consumers'

/** The references that words name: the lines of a file, those of the standard input for `-`, else the word itself. */
export async function referencesOf(words: readonly string[]): Promise<string[]> {
  const lists = await Promise.all(words.map(async word => parseReferenceList((await fileText(word)) ?? word)))
  return lists.flat()
}

/** The references in a text, one a line; blank lines and what follows a # are ignored. */
export function parseReferenceList(text: string): string[] {
  return text
    .split(/\r?\n/)
    .map(line => line.replace(/(^|\s)#.*$/, '').trim())
    .filter(line => line !== '')
}

async function fileText(word: string): Promise<string | undefined> {
  // Not by its path: a standard input that is a socket cannot be opened.
  if (word === '-') return text(process.stdin)
  try {
    return await readFile(word, 'utf8')
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    // `system/deckhouse:v1` is a path as well; a word that begins like a path is certainly meant as a file.
    if ((code === 'ENOENT' || code === 'ENOTDIR') && !/^\.{0,2}\//.test(word)) return undefined
    throw error
  }
}
