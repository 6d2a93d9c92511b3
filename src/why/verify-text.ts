import { bytesText, plain } from './text.ts'
import type { Defect, VerifyResult } from './verify.ts'

/** One result, as text for a person. */
export function resultText({ reference, complete, manifests, blobs, bytes, lacks, fault }: VerifyResult): string {
  const head = `${complete ? 'complete  ' : 'INCOMPLETE'}  ${plain(reference)}`
  if (fault !== undefined) return `${head}\n            ${plain(fault)}\n`
  const counts = `            ${manifests} manifests, ${blobs} blobs, ${bytesText(bytes)}`
  return [head, complete ? counts : undefined, ...lacks.map(defectText)]
    .filter(line => line !== undefined)
    .map(line => `${line}\n`)
    .join('')
}

function defectText({ kind, digest, size, state }: Defect): string {
  const what = digest === undefined ? kind : `${kind} ${digest}`
  return `            ${state}: ${what}${size === undefined ? '' : ` (${bytesText(size)})`}`
}

/** The results, added up. */
export interface VerifyTotal {
  references: number
  complete: number
  /** Missing and damaged parts, counted for each reference that needs them. */
  lacks: number
}

/** Adds a result to a total. */
export function addResult({ references, complete, lacks }: VerifyTotal, each: VerifyResult): VerifyTotal {
  return { references: references + 1, complete: complete + (each.complete ? 1 : 0), lacks: lacks + each.lacks.length }
}

/** The last sentence: whether the set is complete, and what to do if it is not. */
export function totalText({ references, complete, lacks }: VerifyTotal): string {
  if (references === 0) return 'No reference was named: there is nothing to verify.\n'
  if (complete === references) return `All ${references} references are complete: every manifest and blob of them is stored here.\n`
  const parts = lacks > 0 ? ` (${lacks} parts are missing or damaged)` : ''
  return `${references - complete} of ${references} references are incomplete${parts}: push or pull them again.\n`
}
