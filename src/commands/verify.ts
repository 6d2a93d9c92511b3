import { readFile } from 'node:fs/promises'
import type { Config } from '../../config/schema.ts'
import { streamControl } from '../ports/control.ts'
import { added, parseSet, type Total, totalText, verifiedText } from '../why/set.ts'
import type { Verified } from '../why/verify.ts'

/** The options of `verify` as the command line gives them. */
export interface VerifyOptions {
  deep?: true
  /** How results are printed. */
  form: 'text' | 'json'
}

/** Prints one result after the other by `print`; resolves to whether all of the set is stored. */
export async function verify(
  config: Config,
  given: readonly string[],
  { deep, form }: VerifyOptions,
  print: (text: string) => void
): Promise<boolean> {
  const body = { references: await referencesOf(given), depth: deep ? 'digest' : 'size' }
  let total: Total = { references: 0, complete: 0, lacks: 0 }
  // Digests of many gigabytes take as long as they take.
  for await (const each of streamControl(config.server.control, { method: 'POST', path: '/verify', body, patience: 0 })) {
    const result = each as Verified
    total = added(total, result)
    print(form === 'json' ? `${JSON.stringify(result)}\n` : verifiedText(result))
  }
  print(form === 'json' ? `${JSON.stringify({ total })}\n` : totalText(total))
  return total.references > 0 && total.complete === body.references.length
}

/** A file's lines where a file is named, `-` for the standard input, and any other word is a reference itself. */
async function referencesOf(given: readonly string[]): Promise<string[]> {
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
