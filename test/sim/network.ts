import type { World } from './world.ts'

/** Something that answers questions as long as its process runs. */
export interface Answering {
  answer(question: unknown): Promise<unknown>
}

/** A network that delays, loses, doubles and reorders, and that can be cut in one direction. */
export class Network {
  /** What is lost of all messages, what comes twice, and what comes late. */
  chances = { lost: 0, doubled: 0, late: 0 }
  /** How many messages were sent, and how many bytes. */
  messages = 0
  bytes = 0
  readonly #world: World
  readonly #cut = new Set<string>()
  readonly #hosts = new Map<string, Answering>()

  constructor(world: World) {
    this.#world = world
  }

  /** Nothing gets from one to the other any more. */
  cut(from: string, to: string): void {
    this.#cut.add(`${from} ${to}`)
  }

  heal(): void {
    this.#cut.clear()
    this.chances = { lost: 0, doubled: 0, late: 0 }
  }

  /** A host without a process refuses connections. */
  attach(name: string, host: Answering | undefined): void {
    if (host) this.#hosts.set(name, host)
    else this.#hosts.delete(name)
  }

  #arrives(from: string, to: string): boolean {
    return !this.#cut.has(`${from} ${to}`) && !this.#world.chance.happens(this.chances.lost)
  }

  #delay(): number {
    const { chance } = this.#world
    return chance.happens(this.chances.late) ? chance.between(100, 8_000) : chance.between(1, 15)
  }

  /** An answer, or a rejection; nothing if either message is lost, until `signal` is aborted. */
  ask(from: string, to: string, question: unknown, signal: AbortSignal): Promise<unknown> {
    const sent = JSON.stringify(question)
    return new Promise((resolve, reject) => {
      if (signal.aborted) return reject(signal.reason)
      signal.addEventListener('abort', () => reject(signal.reason), { once: true })
      const copies = this.#world.chance.happens(this.chances.doubled) ? 2 : 1
      for (let copy = 0; copy < copies; copy++) {
        this.messages++
        this.bytes += sent.length
        if (this.#arrives(from, to)) this.#world.after(this.#delay(), () => this.#deliver(from, to, sent, resolve, reject))
      }
    })
  }

  #deliver(from: string, to: string, sent: string, resolve: (answer: unknown) => void, reject: (error: unknown) => void): void {
    const back = (task: () => void) => {
      if (this.#arrives(to, from)) this.#world.after(this.#delay(), task)
    }
    const host = this.#hosts.get(to)
    if (!host) {
      back(() => reject(new Error(`${to} refuses connections`)))
      return
    }
    host.answer(JSON.parse(sent)).then(
      answer => {
        const text = JSON.stringify(answer ?? null)
        this.bytes += text.length
        back(() => resolve(JSON.parse(text)))
      },
      error => back(() => reject(error))
    )
  }
}
