import type { GcProgress } from '../content/gc/run.ts'
import type { OperationProgress } from '../operations/events.ts'
import { bytesText, durationText, plain } from '../why/text.ts'

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
  const rate = new RateMeter()
  return event => {
    if (isProgress(event)) return output.progress?.(barOf(event, rate))
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

function barOf(event: OperationProgress | GcProgress, rate: RateMeter): string {
  if ('phase' in event) return `${event.phase}: ${event.repositories} repositories, ${event.removed} objects removed`
  const { done, total, unit, item } = event
  const amount = (value: number) => (unit === 'bytes' ? bytesText(value) : String(value))
  if (total === undefined) return amount(done)
  const part = total === 0 ? 1 : Math.min(1, done / total)
  const full = Math.round(part * barWidth)
  const bar = `[${'#'.repeat(full)}${'.'.repeat(barWidth - full)}]`
  const text = `${bar} ${Math.floor(part * 100)} %, ${amount(Math.min(done, total))} of ${amount(total)}`
  if (item === undefined) return text
  const perSecond = rate.measure(done)
  const speed = perSecond > 0 ? `, ${amount(Math.round(perSecond))}/s, ${durationText((total - done) / perSecond)} left` : ''
  return plain(`${text}${speed}, ${item}`)
}

// Long enough to be steady, short enough to follow a network.
const rateWindowMs = 10_000

/** The rate of something that grows, over the last seconds. */
export class RateMeter {
  readonly #now: () => number
  #samples: { atMs: number; value: number }[] = []

  constructor(now: () => number = () => performance.now()) {
    this.#now = now
  }

  /** Takes the value of now, and gives its growth per second; 0 before there is one. */
  measure(value: number): number {
    const atMs = this.#now()
    this.#samples = [...this.#samples.filter(each => atMs - each.atMs <= rateWindowMs), { atMs, value }]
    const [first] = this.#samples
    return first && atMs > first.atMs ? ((value - first.value) / (atMs - first.atMs)) * 1000 : 0
  }
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
