import { mkdir } from 'node:fs/promises'
import { createSemaphore } from '../../../storage/semaphore.ts'
import { eventsOf } from '../../copy/events.ts'
import type { Digest } from '../../oci/digest.ts'
import { reasonOf } from '../../oci/errors.ts'
import type { Bundle } from '../bundle.ts'
import { Patience } from '../push/patience.ts'
import { type ArchivePlan, planArchives } from './archive-plan.ts'
import { ArchiveWriter } from './archive-writer.ts'
import { type ResolveOptions, resolveImages, type WantedImage, wantedText } from './resolve.ts'

/** How a bundle is pulled. */
export interface PullOptions extends Omit<ResolveOptions, 'patience'> {
  folder: string
  /** Archives are written in files of so many bytes; absent: each in one file. */
  chunkBytes?: number | undefined
  /** A bundle whose blobs are left out. */
  since?: Bundle | undefined
  /** How long the source may be away, in ms. */
  patienceMs: number
  /** An error in words for a person. */
  explain?: (error: unknown) => string
}

/** What a pull reports; `done` is the last one. Sizes are in bytes. */
export type PullEvent =
  | { type: 'image'; image: string; result: 'failed'; reason: string }
  | { type: 'archive'; archive: string; size: number; result: 'written' | 'present' }
  | { type: 'waiting'; seconds: number; reason: string }
  | { type: 'progress'; done: number; total: number; unit: 'bytes'; item: string }
  | PullDone

/** The verdict of a pull. */
export interface PullDone {
  type: 'done'
  images: number
  failed: number
  archives: number
  bytes: number
  /** Blobs that this run has fetched, and those that an earlier one had. */
  fetchedBlobs: number
  fetchedBytes: number
  presentBlobs: number
  /** Blobs of the bundle that was given as its base. */
  leftOut: number
}

/**
 * Writes images into the archives of a bundle. First all manifests are read: if one of the references cannot be
 * resolved, nothing is written. Then every byte has its place, and blobs are fetched into theirs, each verified. What
 * an earlier run has written is verified and kept, so that an interrupted pull goes on, and its bytes are those of one
 * that was not. Throws an error for a disk that takes no more; then the files under way are removed.
 */
export async function* pullBundle(wanted: readonly WantedImage[], options: PullOptions): AsyncGenerator<PullEvent, void> {
  yield* eventsOf('pull', options.signal, (signal, report) => pull(wanted, { ...options, signal }, report))
}

async function pull(wanted: readonly WantedImage[], options: PullOptions, report: (event: PullEvent) => void): Promise<void> {
  const { folder, chunkBytes, since, source, atOnce, patienceMs, explain = reasonOf, signal } = options
  const onWait = (reason: string, ms: number) => report({ type: 'waiting', seconds: Math.ceil(ms / 1000), reason })
  const patience = new Patience({ patienceMs, signal, onWait })
  let failed = 0
  const layouts = await resolveImages(wanted, {
    ...options,
    patience,
    onFailure: (image, error) => {
      failed++
      report({ type: 'image', image: wantedText(image), result: 'failed', reason: explain(error) })
    }
  })
  const counts = { fetchedBlobs: 0, fetchedBytes: 0, presentBlobs: 0, leftOut: 0 }
  const done = (archives: readonly ArchivePlan[]) =>
    report({ type: 'done', images: wanted.length, failed, archives: archives.length, bytes: totalOf(archives), ...counts })
  if (failed > 0) return done([])
  const isLeftOut = (digest: Digest, size: number) => since?.locate(digest)?.size === size
  const reduced = layouts.map(layout => ({
    ...layout,
    blobs: new Map([...layout.blobs].filter(([digest, size]) => !isLeftOut(digest, size)))
  }))
  counts.leftOut = new Set(
    layouts.flatMap(each => [...each.blobs].flatMap(([digest, size]) => (isLeftOut(digest, size) ? [digest] : [])))
  ).size
  const archives = planArchives(reduced)
  await mkdir(folder, { recursive: true })
  const permits = createSemaphore(atOnce)
  const total = totalOf(archives)
  let bytes = 0
  for (const archive of archives) {
    const onBytes = (count: number, item: string) => {
      bytes += count
      report({ type: 'progress', done: Math.min(bytes, total), total, unit: 'bytes', item })
    }
    await using writer = await ArchiveWriter.open(archive, { folder, chunkBytes, source, patience, permits, counts, onBytes, signal })
    const result = await writer.run()
    report({ type: 'archive', archive: archive.name, size: archive.size, result })
  }
  done(archives)
}

function totalOf(archives: readonly ArchivePlan[]): number {
  return archives.reduce((sum, each) => sum + each.size, 0)
}
