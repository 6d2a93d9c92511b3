/** What came of the requests of a churn. */
export class Tally {
  readonly #counts = new Map<string, number>()
  /** What should not have happened: the first few in words. */
  readonly faults: string[] = []

  add(what: string): void {
    this.#counts.set(what, this.count(what) + 1)
  }

  fault(what: string): void {
    this.add('faults')
    if (this.faults.length < 20) this.faults.push(what)
  }

  count(what: string): number {
    return this.#counts.get(what) ?? 0
  }

  toString(): string {
    return [...this.#counts]
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([what, count]) => `${what} ${count}`)
      .join(', ')
  }
}
