import { bytesText, plain } from '../why/text.ts'
import type { TaskEvent } from './run-operation.ts'

/** Where a command shows what it does. */
export interface CommandOutput {
  form: 'text' | 'json'
  print(text: string): void
  /** Replaces the line of progress, or takes it away; absent where nobody looks. */
  progress?: (line: string | undefined) => void
}

/** Shows events: to people as lines and a bar, else as one JSON object a line. */
export function showing(screen: CommandOutput, textOf: (event: TaskEvent) => string | undefined): (event: TaskEvent) => void {
  if (screen.form === 'json') return event => screen.print(`${JSON.stringify(event)}\n`)
  return event => {
    if (event.type === 'progress') return screen.progress?.(barOf(event))
    const text = textOf(event)
    if (text === undefined) return
    screen.progress?.(undefined)
    screen.print(`${text}\n`)
  }
}

/** Draws over one line of a terminal. */
export function drawProgressOn(stream: NodeJS.WriteStream): (line: string | undefined) => void {
  return line =>
    void stream.write(line === undefined ? '\r\u001b[K' : `\r\u001b[K${line.slice(0, Math.max(20, (stream.columns || 80) - 1))}`)
}

const width = 30

function barOf({ done, total, unit }: TaskEvent): string {
  const [at, of] = [Number(done), typeof total === 'number' ? total : undefined]
  const amount = (value: number) => (unit === 'bytes' ? bytesText(value) : String(value))
  if (of === undefined) return amount(at)
  const part = of === 0 ? 1 : Math.min(1, at / of)
  const full = Math.round(part * width)
  return `[${'#'.repeat(full)}${'.'.repeat(width - full)}] ${Math.floor(part * 100)} %, ${amount(Math.min(at, of))} of ${amount(of)}`
}

/** What an event is about, without control characters. */
export function subjectOf({ kind, name, names, tag, digest, session }: TaskEvent): string {
  const repositories = Array.isArray(names) ? names.join(', ') : name
  const what = [kind, tag, session, digest].filter(each => each !== undefined).join(' ')
  return plain(repositories === undefined || repositories === '' ? what : `${what} in ${repositories}`)
}
