import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import type { Test } from 'tap'
import { program } from '../support/program.ts'

/** What a command came to. */
export interface Ended {
  code: number | null
  out: string
  err: string
  /** Standard output, which is JSON outside of a terminal, but for the lines of progress. */
  events: Record<string, unknown>[]
}

/** A running command of the program; `out` is what it has written by now. */
export function begin(t: Test, args: readonly string[], input = ''): { child: ChildProcess; out: () => string; ended: Promise<Ended> } {
  const env = { PATH: process.env['PATH'], HOME: '/' }
  const child = spawn(process.execPath, [...program, ...args], { env, stdio: ['pipe', 'pipe', 'pipe'] })
  t.teardown(() => child.kill('SIGKILL'))
  child.stdin.end(input)
  const texts = { out: '', err: '' }
  child.stdout.on('data', chunk => {
    texts.out += chunk
  })
  child.stderr.on('data', chunk => {
    texts.err += chunk
  })
  const ended = once(child, 'close').then(() => {
    const events = texts.out
      .split('\n')
      .filter(line => line.startsWith('{"'))
      .map(line => JSON.parse(line))
    return { code: child.exitCode, ...texts, events: events.filter(each => each.type !== 'progress') }
  })
  return { child, out: () => texts.out, ended }
}
