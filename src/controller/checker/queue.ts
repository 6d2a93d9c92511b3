import type { CheckMode } from '../../../config/sections/registry.ts'

/** An image that a registry is asked for. */
export interface CheckItem {
  /** Where the image is used: `module/<module>/<image>`, `deckhouse/containers/<name>`. */
  source: string
  /** The whole reference in the registry that is checked. */
  image: string
  /** Why the last request for it failed. */
  error?: string
}

const firstPauseMs = 10_000
const longestPauseMs = 300_000
const maxShown = 5

/**
 * The images that one registry is checked for. Failed ones are asked for again once all others have been, after a pause
 * that doubles from 10 s to 5 min while none of them is found.
 */
export class CheckQueue {
  readonly name: string
  #waiting: CheckItem[]
  #failed: CheckItem[] = []
  #processed = 0
  #running = 0
  #pauseMs = firstPauseMs
  #found = false
  #resumeAt = 0

  constructor(name: string, items: readonly CheckItem[]) {
    this.name = name
    this.#waiting = [...items]
  }

  get isDone(): boolean {
    return this.#waiting.length + this.#failed.length + this.#running === 0
  }

  get isFailing(): boolean {
    return this.#errors.length > 0
  }

  /** When the next item may be asked for, in ms since the epoch; 0: at once. Undefined: all are found. */
  get resumeAt(): number | undefined {
    return this.isDone ? undefined : this.#resumeAt
  }

  /** The next item to ask for; undefined if there is none now. It is given back to one of the three below. */
  take(now: number): CheckItem | undefined {
    const item = now < this.#resumeAt ? undefined : this.#waiting.shift()
    if (item) this.#running++
    return item
  }

  succeed(): void {
    this.#running--
    this.#processed++
    this.#found = true
  }

  fail(item: CheckItem, error: string): void {
    this.#running--
    this.#failed.push({ ...item, error })
  }

  /** Ends a turn over the items, at `now`. */
  endTurn(now: number): void {
    if (this.#waiting.length > 0 || this.#failed.length === 0) return
    this.#pauseMs = this.#found || this.#resumeAt === 0 ? firstPauseMs : Math.min(this.#pauseMs * 2, longestPauseMs)
    this.#resumeAt = now + this.#pauseMs
    this.#found = false
    this.#waiting = this.#failed
    this.#failed = []
  }

  /** What the condition says about this registry, with its line breaks. */
  text(): string {
    const { name } = this
    if (this.isDone) return `${name}: all ${this.#processed} items are checked\n`
    const total = this.#processed + this.#waiting.length + this.#failed.length + this.#running
    const errors = this.#errors
    const progress = `${name}: ${this.#processed} of ${total} items processed`
    if (errors.length === 0) return `${progress}\n`
    const shown = errors.slice(0, maxShown).map(({ source, image, error }) => `- source: ${source}\n  image: ${image}\n  error: ${error}\n`)
    const more = errors.length > maxShown ? '\n  ...and more\n' : ''
    return `${progress}, ${errors.length} items with errors:\n${shown.join('')}${more}\n`
  }

  // An item that waits for its next turn is still missing.
  get #errors(): readonly CheckItem[] {
    return [...this.#failed, ...this.#waiting.filter(({ error }) => error !== undefined)]
  }
}

/** The message of the condition, registries by name; it tells of `Relax`, which checks less. */
export function checkText(queues: readonly CheckQueue[], checkMode: CheckMode): string {
  const texts = [...queues].sort((a, b) => (a.name < b.name ? -1 : 1)).map(queue => queue.text())
  return `${checkMode === 'Relax' ? 'Mode: Relax\n' : ''}${texts.join('')}`.trim()
}
