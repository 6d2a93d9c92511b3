import { digestIn, type OpenArchive } from './archive-index.ts'
import type { Bundle } from './bundle.ts'
import { digestOfBytes } from './digest-of-bytes.ts'
import type { BundleFault } from './faults.ts'
import type { BundlePlan } from './plan.ts'
import { type TarEntry, tarEntries } from './tar/entries.ts'
import { TarFault } from './tar/header.ts'

/** What a verification reports; `done` is the last one. Sizes are in bytes. */
export type BundleVerifyEvent =
  | ({ type: 'fault' | 'notice' } & BundleFault)
  | { type: 'progress'; done: number; total: number; unit: 'bytes'; item: string }
  | { type: 'done'; archives: number; repositories: number; images: number; verified: number; bytes: number; faults: number }

/**
 * Computes the digest of every blob and manifest in the archives, and tells with what the plan found whether the bundle
 * is complete and sound: it is if `done` counts no fault. A bundle without images is a fault.
 */
export async function* verifyBundle(bundle: Bundle, plan: BundlePlan, signal: AbortSignal): AsyncGenerator<BundleVerifyEvent, void> {
  let faults = 0
  const fault = (about: BundleFault): BundleVerifyEvent => {
    faults++
    return { type: 'fault', ...about }
  }
  for (const each of [...findingsOf(bundle, plan), ...plan.lacking.map(each => ({ type: 'fault' as const, ...each }))]) {
    if (each.type === 'fault') faults++
    yield each
  }
  const total = bundle.archives.reduce((sum, each) => sum + each.bytes.size, 0)
  let [verified, bytes, before] = [0, 0, 0]
  for (const archive of bundle.archives) {
    for await (const entry of soundEntries(archive, signal)) {
      const digest = digestIn(entry.name)?.digest
      yield { type: 'progress', done: before + entry.offset, total, unit: 'bytes', item: entry.name }
      if (digest === undefined) continue
      const actual = await digestOfBytes(digest, { bytes: archive.bytes, ...entry }, { signal })
      verified++
      bytes += entry.size
      if (actual !== digest)
        yield fault({
          archive: archive.name,
          ...archive.bytes.placeOf(entry.offset),
          entry: entry.name,
          digest,
          reason: `its bytes are those of ${actual}`
        })
    }
    before += archive.bytes.size
  }
  const { archives, repositories } = bundle
  yield { type: 'done', archives: archives.length, repositories: repositories.size, images: plan.images.length, verified, bytes, faults }
}

/** What opening and planning have found, without the blobs that are missing. */
export function findingsOf(bundle: Bundle, plan: BundlePlan): ({ type: 'fault' | 'notice' } & BundleFault)[] {
  const empty: BundleFault[] = plan.images.length === 0 ? [{ reason: 'the bundle has no image' }] : []
  return [
    ...[...bundle.notices, ...plan.notices].map(each => ({ type: 'notice' as const, ...each })),
    ...[...bundle.faults, ...plan.faults, ...empty].map(each => ({ type: 'fault' as const, ...each }))
  ]
}

/** The entries up to the fault of an archive, which opening it has told of. */
async function* soundEntries({ bytes }: OpenArchive, signal: AbortSignal): AsyncGenerator<TarEntry, void> {
  try {
    yield* tarEntries(bytes, { maxEntries: Number.POSITIVE_INFINITY, signal })
  } catch (error) {
    if (!(error instanceof TarFault)) throw error
  }
}
