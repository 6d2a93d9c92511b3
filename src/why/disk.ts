import type { DiskReport } from './report.ts'
import type { WhyContext } from './resolve.ts'
import { storageLocation } from './where.ts'

/** The disk below the store; a block is written to a temp file and removed, since nothing else tells whether bytes are taken. */
export async function inspectDisk({ config, storage, writable }: Pick<WhyContext, 'config' | 'storage' | 'writable'>): Promise<DiskReport> {
  const root = storageLocation(config)
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
