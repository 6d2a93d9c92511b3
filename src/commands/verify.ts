import { addResult, resultText, totalText, type VerifyTotal } from '../why/verify-text.ts'
import { referencesOf } from './references.ts'
import { type CommandContext, eventsOf } from './run-operation.ts'

/** The flags of `verify` as the command line gives them. */
export interface VerifyFlags {
  deep?: true
}

/** Prints one result a reference; resolves to whether everything that the references lead to is stored. */
export async function verify(words: readonly string[], { deep }: VerifyFlags, context: CommandContext): Promise<boolean> {
  const { form, print } = context.output
  const references = await referencesOf(words)
  let total: VerifyTotal = { references: 0, complete: 0, lacks: 0 }
  for await (const result of eventsOf(context.operations.verify, { references, depth: deep ? 'digest' : 'size' }, context)) {
    total = addResult(total, result)
    print(form === 'json' ? `${JSON.stringify(result)}\n` : resultText(result))
  }
  print(form === 'json' ? `${JSON.stringify({ total })}\n` : totalText(total))
  return total.references > 0 && total.complete === references.length
}
