import type { Pki } from '../test/e2e/pki.ts'
import type { Results, Sample } from './results.ts'
import type { Present } from './servers/present.ts'

export const MIB = 1024 * 1024
export const GIB = 1024 * MIB

/** What a workload has at hand. */
export interface Bench {
  /** On the disk that is measured; a workload removes what it puts there. */
  readonly folder: string
  readonly pki: Pki
  readonly present: Present
  readonly rounds: number
  /** Bytes of the large blob. */
  readonly large: number
  readonly results: Results
  /** Says how it goes, for whoever waits. */
  say(text: string): void
}

/** Something that is measured. */
export interface Workload {
  readonly name: string
  readonly title: string
  /** What is done, in a sentence or two for the document. */
  readonly about: string
  /** What it does not run without, beside the servers. */
  readonly tools: readonly string[]
  run(bench: Bench, record: Record): Promise<void>
}

/** Takes what one round of a case gave with one server. */
export type Record = (title: string, server: string, sample: Sample) => void
