import type { Digest } from '../oci/digest.ts'

/** What is wrong with a bundle. */
export interface BundleFault {
  /** The archive's name; absent for what concerns no single one. */
  archive?: string
  /** The file and the offset in it, in bytes: of a chunk where the archive has chunks. */
  file?: string
  offset?: number
  entry?: string
  digest?: Digest
  /** The images that it concerns, as `<repository>:<tag>`; of many, the first ones. */
  images?: readonly string[]
  reason: string
}

/** A fault in one line: where, what, why. */
export function faultText({ archive, file, offset, entry, digest, images, reason }: BundleFault): string {
  const place = file !== undefined && file !== archive ? `${archive} (${file})` : archive
  const parts = [place, entry, digest !== undefined && !entry?.includes(digest.slice(7)) ? digest : undefined].filter(
    each => each !== undefined
  )
  const at = offset === undefined ? '' : ` at byte ${offset}`
  const concerned = images === undefined || images.length === 0 ? '' : ` (${images.join(', ')})`
  const where = `${parts.join(': ')}${at}`
  return `${where}${where === '' ? '' : ': '}${reason}${concerned}`
}
