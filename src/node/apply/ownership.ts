import { dirname } from 'node:path'
import type { NodeFound, WantedState } from './plan.ts'
import { type Applied, digestOfState, isSame, type NodeRecord, noRecord, type RecordedFile } from './record.ts'

/** What is owned while a plan is carried out, and after it. */
export interface NodeOwnership {
  during: NodeRecord
  after: NodeRecord
}

/** What becomes owned, and what stays so. `restart`: whether the plan restarts containerd. */
export function ownershipOf(
  wanted: ReadonlyMap<string, WantedState>,
  { applied, restart }: { applied: Applied | undefined; restart: boolean },
  found: NodeFound
): NodeOwnership {
  const { record, missing } = found
  const files = new Map([...wanted].flatMap(([path, each]) => owned(path, each, found)))
  const directories = [...new Set([...record.directories, ...missing])]
  const needed = directories.filter(path => isNeeded(path, files))
  const during = { ...record, files: new Map([...record.files, ...files]), directories, restart }
  const after = files.size === 0 ? noRecord : { files, directories: needed, restart: false, ...(applied ? { applied } : {}) }
  return { during, after }
}

function owned(path: string, { state, edited }: WantedState, { record, files }: NodeFound): [string, RecordedFile][] {
  const [before, recorded] = [files.get(path), record.files.get(path)]
  if (!edited) return [[path, { digest: digestOfState(state), edited }]]
  const same = before !== undefined && isSame(before, state)
  // A foreign file in which nothing has to be changed stays foreign.
  if (same) return recorded ? [[path, recorded]] : []
  const untouched = !recorded || !before || digestOfState(before) === recorded.digest
  return [[path, { digest: untouched ? digestOfState(state) : 'changed', edited }]]
}

/** The directories that apply made and that nothing owned lies in any more, innermost first. */
export function leavingDirectories({ files }: NodeRecord, { directories }: NodeRecord): { kind: 'remove directory'; path: string }[] {
  const gone = directories.filter(path => !isNeeded(path, files))
  return gone.toSorted((a, b) => b.split('/').length - a.split('/').length).map(path => ({ kind: 'remove directory', path }))
}

function isNeeded(directory: string, files: ReadonlyMap<string, unknown>): boolean {
  return [...files.keys()].some(path => path.startsWith(`${directory}/`))
}

/** The directories above a path, outermost first. */
export function directoriesAbove(path: string): string[] {
  const above = dirname(path)
  return above === '.' ? [] : [...directoriesAbove(above), above]
}
