import type { Disk } from './report.ts'
import type { View } from './resolve.ts'
import { placeOf } from './where.ts'

/** The disk below the store; a block is written to a temp file and removed, since nothing else tells whether bytes are taken. */
export async function lookAtDisk({ config, storage, writable }: Pick<View, 'config' | 'storage' | 'writable'>): Promise<Disk> {
  const root = placeOf(config)
  const { free, total } = (await storage.usage().catch(() => undefined)) ?? {}
  const space = { ...(free === undefined ? {} : { free }), ...(total === undefined ? {} : { total }) }
  try {
    await writable()
    return { root, ...space, writable: 'yes' }
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    return { root, ...space, writable: code === 'ENOSPC' || code === 'EDQUOT' ? 'full' : 'no', told: message }
  }
}
