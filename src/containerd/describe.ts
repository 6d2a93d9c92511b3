import type { FileState } from '../install/files.ts'
import { hostsFile } from './hosts.ts'
import type { HostsPlan } from './install.ts'

/** Formats a plan for people: one block per file, removed lines with `-`, added ones with `+`, credentials hidden. */
export function describePlan({ changes, backups, warnings }: HostsPlan): string {
  const backedUp = new Set(backups.map(({ from }) => from))
  const blocks = changes.map(({ kind, path, before, after }) => {
    const note = backedUp.has(path) ? ' (what is there is kept for restore)' : ''
    return [`${kind} ${path}${note}`, ...(path.endsWith(`/${hostsFile}`) ? difference(lines(before), lines(after)) : [])]
  })
  return [...warnings.map(warning => `warning: ${warning}`), ...blocks.flat()].map(line => `${line}\n`).join('')
}

// Leaves out the common prefix and suffix: the files are a few lines long.
function difference(before: readonly string[], after: readonly string[]): string[] {
  let head = 0
  while (head < before.length && head < after.length && before[head] === after[head]) head++
  let tail = 0
  const maxTail = Math.min(before.length, after.length) - head
  while (tail < maxTail && before.at(-1 - tail) === after.at(-1 - tail)) tail++
  const minus = before.slice(head, before.length - tail).map(line => `  - ${hide(line)}`)
  return [...minus, ...after.slice(head, after.length - tail).map(line => `  + ${hide(line)}`)]
}

function lines(found: FileState | undefined): string[] {
  if (found === undefined) return []
  if (found.kind === 'link') return ['(a symbolic link)']
  return found.text.split('\n').filter(line => line.trim() !== '')
}

// A foreign file may hold a secret anywhere, so only lines that are known to hold none are shown.
function hide(line: string): string {
  if (/^\s*\[{1,2}"?(host|header|auth|rewrite)"?[.\]][^#]*$/.test(line)) return line
  if (/^\s*(server|capabilities|ca|skip_verify|override_path|dial_timeout|regex|replace)\s*=/.test(line))
    return line.replace(/\/\/[^/"]*@/g, '//…@')
  const key = /^\s*"?([0-9A-Za-z_.-]+)"?\s*=/.exec(line)
  return key ? `${key[1]} = …` : '…'
}
