import { dirname, join } from 'node:path'
import type { Call } from './trace.ts'

/** What a 201 promised: the files below the root that survive power loss from then on. */
export interface Acknowledged {
  what: string
  keys: readonly string[]
}

/** The writes with which the process answered 201, in their order. */
export function findAnswers(calls: readonly Call[]): Call[] {
  return calls.filter(({ path, text }) => path.startsWith('socket:') && text.includes('"HTTP/1.1 201 '))
}

/**
 * Where the calls break the promise that each 201 comes after fsync of the bytes, their rename, fsync of the directory
 * that received them, and fsync of the parent of every directory that was made on the way. Empty if they keep it.
 */
export function findFaults(calls: readonly Call[], root: string, acknowledged: readonly Acknowledged[]): string[] {
  const answers = findAnswers(calls)
  if (answers.length !== acknowledged.length) return [`${answers.length} answers were 201, ${acknowledged.length} were expected`]
  return acknowledged.flatMap(({ what, keys }, index) => {
    const before = calls.filter(call => call.ended < (answers[index]?.began ?? 0))
    return keys.flatMap(key => faultsOf(before, root, key).map(fault => `${what}: ${fault}`))
  })
}

function faultsOf(calls: readonly Call[], root: string, key: string): string[] {
  const target = join(root, key)
  const rename = calls.findLast(call => call.to === target)
  if (!rename) return [`nothing was renamed to ${key}`]
  const faults: string[] = []
  const written = calls.filter(call => isWrite(call) && call.path === rename.path).map(call => call.ended)
  const complete = Math.max(0, ...written)
  if (!calls.some(call => isSync(call) && call.path === rename.path && call.began > complete && call.ended < rename.began)) {
    faults.push(`the bytes of ${key} were not synced between the last write and the rename`)
  }
  const folder = dirname(target)
  if (!calls.some(call => call.name === 'fsync' && call.path === folder && call.began > rename.ended)) {
    faults.push(`the directory of ${key} was not synced after the rename`)
  }
  return [...faults, ...foldersNotSynced(calls, root, folder).map(each => `the parent of the new directory ${each} was not synced`)]
}

function foldersNotSynced(calls: readonly Call[], root: string, folder: string): string[] {
  const faults: string[] = []
  for (let each = folder; each.length > root.length; each = dirname(each)) {
    const made = calls.findLast(call => call.name.startsWith('mkdir') && call.path === each)
    const parent = dirname(each)
    if (made && !calls.some(call => call.name === 'fsync' && call.path === parent && call.began > made.ended)) faults.push(each)
  }
  return faults
}

function isSync({ name }: Call): boolean {
  return name === 'fsync' || name === 'fdatasync'
}

function isWrite({ name }: Call): boolean {
  return name.startsWith('write') || name.startsWith('pwrite')
}
