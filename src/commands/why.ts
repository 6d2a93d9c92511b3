import type { Config } from '../../config/schema.ts'
import { callControl, NotRunning } from '../ports/control.ts'
import { adviceWithoutRegistry } from '../why/advice.ts'
import type { Report } from '../why/report.ts'
import { reportText } from '../why/screen.ts'
import { plain } from '../why/text.ts'

/** The options of `why` as the command line gives them. */
export interface WhyOptions {
  json?: true
  quick?: true
}

// The process itself gives up after a minute of questions, and digests may take a while beside them.
const patience = 120_000

/** Why a pull of the reference works or does not: the text to print, and whether it works. */
export async function why(config: Config, reference: string, { json, quick }: WhyOptions): Promise<{ text: string; works: boolean }> {
  const report = await ask(config.server.control, reference, quick ? 'size' : 'digest')
  return { text: json ? `${JSON.stringify(report, null, 2)}\n` : reportText(report), works: report.works }
}

async function ask(socketPath: string, reference: string, depth: 'size' | 'digest'): Promise<Report> {
  try {
    return (await callControl(socketPath, 'POST', '/why', { reference, depth }, patience)) as Report
  } catch (error) {
    if (!(error instanceof NotRunning)) throw error
    return { reference: plain(reference), works: false, cause: 'not-running', advice: adviceWithoutRegistry(socketPath) }
  }
}
