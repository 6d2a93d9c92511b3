import type { Config } from '../../config/schema.ts'
import { streamControl } from '../ports/control.ts'
import type { VerifyResult } from '../why/verify.ts'
import { addResult, resultText, totalText, type VerifyTotal } from '../why/verify-text.ts'
import { referencesOf } from './references.ts'

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
  let total: VerifyTotal = { references: 0, complete: 0, lacks: 0 }
  // Digests of many gigabytes take as long as they take.
  for await (const each of streamControl(config.server.control, { method: 'POST', path: '/verify', body, idleTimeoutMs: 0 })) {
    const result = each as VerifyResult
    total = addResult(total, result)
    print(form === 'json' ? `${JSON.stringify(result)}\n` : resultText(result))
  }
  print(form === 'json' ? `${JSON.stringify({ total })}\n` : totalText(total))
  return total.references > 0 && total.complete === body.references.length
}
