import { NotRunning } from '../ports/control-client.ts'
import { adviceWithoutRegistry } from '../why/advice.ts'
import type { Report } from '../why/report.ts'
import { reportText } from '../why/screen.ts'
import { plain } from '../why/text.ts'
import { type CommandContext, eventsOf } from './run-operation.ts'

/** The flags of `why` as the command line gives them. */
export interface WhyFlags {
  json?: true
  quick?: true
}

/** Prints why a pull of the reference works or does not; resolves to whether it works. */
export async function why(reference: string, { json, quick }: WhyFlags, context: CommandContext): Promise<boolean> {
  const report = await reportOf(reference, quick ? 'size' : 'digest', context)
  context.output.print(json ? `${JSON.stringify(report, null, 2)}\n` : reportText(report))
  return report.works
}

async function reportOf(reference: string, depth: 'size' | 'digest', context: CommandContext): Promise<Report> {
  try {
    for await (const report of eventsOf(context.operations.why, { reference, depth }, context)) return report
    throw new Error('the registry gave no report')
  } catch (error) {
    if (!(error instanceof NotRunning)) throw error
    const advice = adviceWithoutRegistry(context.config.server.control)
    return { reference: plain(reference), works: false, cause: 'not-running', advice }
  }
}
