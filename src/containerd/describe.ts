import { createHash } from 'node:crypto'
import type { FileState } from '../install/files.ts'
import { isSameOwnership } from '../install/owned.ts'
import { hostsFile } from './hosts.ts'
import type { HostsPlan } from './install.ts'

/**
 * Formats a plan for people: one block per file, removed lines with `-`, added ones with `+`, credentials hidden; of
 * other files the size, the digest and the mode. Empty if nothing is to be changed.
 */
export function describePlan({ changes, backups, leaving, ownership, warnings }: HostsPlan): string {
  const backedUp = new Set(backups.map(({ from }) => from))
  const blocks = changes.map(({ kind, path, before, after }) => {
    const note = backedUp.delete(path) ? ' (what is there is kept for restore)' : ''
    const differs = path.endsWith(`/${hostsFile}`)
      ? difference(lines(before), lines(after), hide)
      : difference(summary(before), summary(after), line => line)
    return [`${kind} ${path}${note}`, ...differs, ...modes(before, after)]
  })
  const kept = [...backedUp].map(path => `keep ${path} for restore (it is as it should be already)`)
  const left = leaving.map(path => `remove ${path} if nothing else is in it`)
  const all = [...warnings.map(warning => `warning: ${warning}`), ...blocks.flat(), ...kept, ...left]
  if (all.length === warnings.length && !isSameOwnership(ownership.before, ownership.after)) all.push('record which files are installed')
  return all.map(line => `${line}\n`).join('')
}

// Leaves out the common prefix and suffix: the files are a few lines long.
function difference(before: readonly string[], after: readonly string[], show: (line: string) => string): string[] {
  let head = 0
  while (head < before.length && head < after.length && before[head] === after[head]) head++
  let tail = 0
  const maxTail = Math.min(before.length, after.length) - head
  while (tail < maxTail && before.at(-1 - tail) === after.at(-1 - tail)) tail++
  const minus = before.slice(head, before.length - tail).map(line => `  - ${show(line)}`)
  return [...minus, ...after.slice(head, after.length - tail).map(line => `  + ${show(line)}`)]
}

// What a file that is not for reading holds.
function summary(found: FileState | undefined): string[] {
  if (found === undefined) return []
  if (found.kind === 'link') return ['(a symbolic link)']
  const digest = createHash('sha256').update(found.text, 'latin1').digest('hex')
  return [`${found.text.length} bytes, sha256:${digest.slice(0, 16)}`]
}

function modes(before: FileState | undefined, after: FileState | undefined): string[] {
  if (!before || !after || before.kind === 'link' || after.kind === 'link' || before.mode === after.mode) return []
  return [`  - mode ${modeText(before)}`, `  + mode ${modeText(after)}`]
}

const modeText = ({ mode }: FileState): string => mode.toString(8).padStart(4, '0')

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
