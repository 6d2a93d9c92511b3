import { readDocument } from '../read/document.ts'
import { readSource } from '../read/source.ts'
import { isMapping } from '../read/walk.ts'

/** Whether a file is a configuration of the agent, by its section `agent`; false if that cannot be told. */
export const isAgentFile = (file: string, cwd: string = process.cwd()): boolean => {
  try {
    const settings = readDocument(readSource(file, cwd).text, [])?.value
    return isMapping(settings) && Object.hasOwn(settings, 'agent')
  } catch {
    return false
  }
}
