import { dirname } from 'node:path'
import { stringify } from 'yaml'
import { type AgentConfig, loadAgentConfig, settingsOf } from '../../../config/agent/load.ts'
import { writeState } from '../../install/files.ts'
import type { Logger } from '../../telemetry/log.ts'

const heading = '# Written by registry agent: the last configuration that was in force, with its secrets. Do not edit.\n'

/** Keeps the configuration in force for a start with one that cannot be used. A fault is logged: all else works. */
export async function keepLastGood(path: string, config: AgentConfig, log: Logger): Promise<void> {
  const text = Buffer.from(heading + stringify(settingsOf(config), { lineWidth: 0, aliasDuplicateObjects: false })).toString('latin1')
  try {
    await writeState(path, { kind: 'file', text, mode: 0o600 }, dirname(path))
  } catch (error) {
    const { message: reason } = error as Error
    log.warn({ path, reason }, 'the configuration in force cannot be kept for the next start: --last-good names another place')
  }
}

/** A configuration, and where it came from. */
export interface LoadedAgent {
  config: AgentConfig
  file: string
  /** Where the last good configuration is kept. */
  lastGood: string
  /** Why the file cannot be used: then this is the last good one. */
  fault?: Error
}

/** The configuration of a file, or the last good one; throws the fault of the file if there is none. */
export function loadOrLastGood(file: string, lastGood: string = `${file}.last-good`): LoadedAgent {
  try {
    return { config: loadAgentConfig(file), file, lastGood }
  } catch (fault) {
    try {
      return { config: loadAgentConfig(lastGood), file, lastGood, fault: fault as Error }
    } catch {
      throw fault
    }
  }
}
