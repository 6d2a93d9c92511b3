import type { GcProgress } from '../content/gc/run.ts'
import type { OperationProgress } from '../operations/events.ts'
import { bytesText, plain } from '../why/text.ts'

/** Where a command prints what it does. */
export interface CommandOutput {
  form: 'text' | 'json'
  print(text: string): void
  /** Replaces the line of progress, or removes it; absent where standard error is no terminal. */
  progress?: (line: string | undefined) => void
}

/** Prints events: as text with a bar of progress, or as one JSON object a line. */
export function createEventPrinter<Event extends { type: string }>(
  output: CommandOutput,
  textOf: (event: Event) => string | undefined
): (event: Event) => void {
  if (output.form === 'json') return event => output.print(`${JSON.stringify(event)}\n`)
  return event => {
    if (isProgress(event)) return output.progress?.(barOf(event))
    const text = textOf(event)
    if (text === undefined) return
    output.progress?.(undefined)
    output.print(`${text}\n`)
  }
}

function isProgress(event: { type: string }): event is OperationProgress | GcProgress {
  return event.type === 'progress'
}

/** Draws over one line of a terminal. */
export function drawProgressOn(stream: NodeJS.WriteStream): (line: string | undefined) => void {
  return line =>
    void stream.write(line === undefined ? '\r\u001b[K' : `\r\u001b[K${line.slice(0, Math.max(20, (stream.columns || 80) - 1))}`)
}

const barWidth = 30

function barOf(event: OperationProgress | GcProgress): string {
  if ('phase' in event) return `${event.phase}: ${event.repositories} repositories, ${event.removed} objects removed`
  const { done, total, unit } = event
  const amount = (value: number) => (unit === 'bytes' ? bytesText(value) : String(value))
  if (total === undefined) return amount(done)
  const part = total === 0 ? 1 : Math.min(1, done / total)
  const full = Math.round(part * barWidth)
  const bar = `[${'#'.repeat(full)}${'.'.repeat(barWidth - full)}]`
  return `${bar} ${Math.floor(part * 100)} %, ${amount(Math.min(done, total))} of ${amount(total)}`
}

/** What an event may say of the object that it is about. */
interface Subject {
  kind: string
  name?: string
  names?: readonly string[]
  tag?: string
  digest?: string
  session?: string
}

/** The object that an event is about, without control characters. */
export function subjectText({ kind, name, names, tag, digest, session }: Subject): string {
  const repositories = names?.join(', ') ?? name
  const object = [kind, tag, session, digest].filter(each => each !== undefined).join(' ')
  return plain(repositories === undefined || repositories === '' ? object : `${object} in ${repositories}`)
}
