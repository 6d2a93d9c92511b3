/** What one round gave: numbers by measure, the name of a measure being its unit; the first one is what is compared. */
export type Sample = Readonly<Record<string, number>>

/** All rounds of one case with one server. */
export interface Result {
  readonly workload: string
  readonly case: string
  readonly server: string
  readonly samples: Sample[]
  /** Rounds in which others took too much of the processors: they count only where there is nothing else. */
  readonly disturbed: Sample[]
}

/** In cores, on average over a round: more than this, and the round is disturbed. */
export const mostOthers = 0.15

/** Collects samples, in the order in which their cases first came. */
export class Results {
  readonly all: Result[] = []

  record(workload: string, title: string, server: string, sample: Sample, others: number): void {
    let result = this.find(workload, title, server)
    if (result === undefined) {
      result = { workload, case: title, server, samples: [], disturbed: [] }
      this.all.push(result)
    }
    ;(others > mostOthers ? result.disturbed : result.samples).push(sample)
  }

  find(workload: string, title: string, server: string): Result | undefined {
    return this.all.find(each => each.workload === workload && each.case === title && each.server === server)
  }

  of(workload: string): Result[] {
    return this.all.filter(each => each.workload === workload)
  }
}

/** What counts of a result. */
export function counted({ samples, disturbed }: Result): readonly Sample[] {
  return samples.length > 0 ? samples : disturbed
}

/** Median, least and most of a measure; undefined where no round has it. */
export function summarize(result: Result, measure: string): { median: number; least: number; most: number } | undefined {
  const values = counted(result)
    .flatMap(sample => sample[measure] ?? [])
    .sort((a, b) => a - b)
  const [least, most, middle] = [values[0], values.at(-1), Math.floor(values.length / 2)]
  if (least === undefined || most === undefined) return undefined
  const upper = values[middle] ?? least
  const lower = values[middle - 1] ?? upper
  return { median: values.length % 2 === 0 ? (lower + upper) / 2 : upper, least, most }
}

/** The median of ours divided by that of a peer. */
export function ratio(results: Results, { workload, case: title }: Result, peer: string, measure: string): number | undefined {
  const [mine, theirs] = ['ours', peer].map(server => {
    const found = results.find(workload, title, server)
    return found && summarize(found, measure)?.median
  })
  return mine === undefined || !theirs ? undefined : mine / theirs
}
