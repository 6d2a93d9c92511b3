/** A requested change. */
export interface Attempt {
  /** It was acknowledged: from now on it has happened. */
  done(): void
  /** It was refused: it has not happened. */
  refused(): void
}

interface Write {
  value: string | undefined
  began: number
  /** Infinity until it is known. */
  ended: number
  /** Whether it happened for sure when it ended. */
  sure: boolean
}

// Orders what begins and ends in this process; time would not tell two events of one millisecond apart.
let clock = 0

/** What one path may hold, seen from outside: the history of the requested changes. Undefined: there is nothing. */
export class Register {
  #writes: Write[] = []

  constructor() {
    this.settle(undefined)
  }

  /** A change to `value` begins. */
  write(value: string | undefined): Attempt {
    return this.#begin({ value, began: ++clock, ended: Number.POSITIVE_INFINITY, sure: true })
  }

  /** A change begins that may turn out to be none. */
  mayWrite(value: string | undefined): Attempt {
    return this.#begin({ value, began: ++clock, ended: Number.POSITIVE_INFINITY, sure: false })
  }

  #begin(write: Write): Attempt {
    this.#writes.push(write)
    return {
      done: () => {
        write.ended = ++clock
      },
      refused: () => {
        this.#writes = this.#writes.filter(each => each !== write)
      }
    }
  }

  /**
   * What may be found: every value that no acknowledged change has replaced for sure, which is one that began after it
   * had ended.
   */
  acceptable(): Set<string | undefined> {
    const sure = this.#writes.filter(each => each.sure && each.ended < Number.POSITIVE_INFINITY)
    return new Set(this.#writes.filter(each => !sure.some(other => other.began > each.ended)).map(each => each.value))
  }

  /** The one value that may be found, if there is one and it is something. */
  certain(): string | undefined {
    const values = [...this.acceptable()]
    return values.length === 1 ? values[0] : undefined
  }

  /** This was found, so that nothing else can have happened. */
  settle(value: string | undefined): void {
    clock++
    this.#writes = [{ value, began: clock, ended: clock, sure: true }]
  }
}
