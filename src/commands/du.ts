import { bytesText } from '../why/text.ts'
import { type CommandContext, longWork, type TaskEvent } from './run-operation.ts'

/** Shows what each repository takes on disk, and all together. */
export async function du(around: CommandContext): Promise<void> {
  const heads = around.output.form === 'text' ? [row(['TOTAL', 'OWN', 'SHARED', 'BLOBS', 'MANIFESTS', 'TAGS', 'REPOSITORY'])] : []
  await longWork(
    'du',
    {},
    event => {
      const text = textOf(event)
      return text === undefined ? undefined : [...heads.splice(0), text].join('\n')
    },
    around
  )
}

const widths = [10, 10, 10, 8, 9, 6]

const row = (cells: readonly string[]): string => cells.map((cell, at) => cell.padStart(widths[at] ?? 0)).join('  ')

function textOf({ type, name, bytes, own, shared, blobs, manifests, tags, unlinked, quarantined }: TaskEvent): string | undefined {
  const size = (value: unknown) => bytesText(Number(value))
  if (type === 'repository')
    return row([size(bytes), size(own), size(shared), String(blobs), String(manifests), String(tags), String(name)])
  if (type !== 'done') return undefined
  const rest = Number(quarantined) > 0 ? `, ${size(quarantined)} are set aside as damaged` : ''
  return `${row([size(bytes)])}  all together, each blob counted once; no repository needs further ${size(unlinked)}${rest}`
}
