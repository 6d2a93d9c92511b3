import type { DuEvent } from '../operations/du.ts'
import { bytesText } from '../why/text.ts'
import { type CommandContext, runOperation } from './run-operation.ts'

/** Prints what each repository takes on disk, and all of them together. */
export async function du(context: CommandContext): Promise<void> {
  const heads = context.output.form === 'text' ? [row(['TOTAL', 'OWN', 'SHARED', 'BLOBS', 'MANIFESTS', 'TAGS', 'REPOSITORY'])] : []
  await runOperation(
    context.operations.du,
    {},
    event => {
      const text = textOf(event)
      return text === undefined ? undefined : [...heads.splice(0), text].join('\n')
    },
    context
  )
}

const widths = [10, 10, 10, 8, 9, 6]

const row = (cells: readonly string[]): string => cells.map((cell, at) => cell.padStart(widths[at] ?? 0)).join('  ')

function textOf(event: DuEvent): string | undefined {
  if (event.type === 'repository') {
    const { name, bytes, own, shared, blobs, manifests, tags } = event
    return row([bytesText(bytes), bytesText(own), bytesText(shared), `${blobs}`, `${manifests}`, `${tags}`, name])
  }
  if (event.type !== 'done') return undefined
  const { bytes, unlinked, quarantined } = event
  const rest = quarantined > 0 ? `; ${bytesText(quarantined)} are in quarantine` : ''
  return `${row([bytesText(bytes)])}  all together, each blob counted once; further ${bytesText(unlinked)} are in no repository${rest}`
}
