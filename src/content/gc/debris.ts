import { isTag, type Name } from '../../oci/name.ts'
import * as keys from '../keys.ts'
import { leavesBelow } from '../walk.ts'
import type { GcRun, Removal } from './run.ts'

/**
 * Removes the debris in `name`, and the repository itself if it holds nothing. `hasContent` is whether a manifest or a
 * blob of it is kept.
 */
export async function* removeDebris({ storage, content, mode, yielder }: GcRun, name: Name, hasContent: boolean): AsyncGenerator<Removal> {
  const { removals } = content
  let used = hasContent
  for await (const { name: tag } of storage.walk(keys.tags(name))) {
    await yielder.step()
    if (!isTag(tag)) continue
    if (await storage.stat(keys.tag(name, tag))) used = true
    else if (mode === 'report' || (await removals.removeBrokenTag(name, tag)))
      yield { type: 'remove', kind: 'tag', name, tag, reason: 'broken' }
  }
  for await (const { name: session, key } of storage.walk(keys.uploads(name))) {
    await yielder.step()
    const leaves = await Array.fromAsync(leavesBelow(storage, key))
    if (leaves.some(each => each.object)) used = true
    else {
      if (mode === 'remove') await removals.removeEmptyUpload(name, session)
      yield { type: 'remove', kind: 'upload', name, reason: 'broken' }
    }
  }
  if (used) return
  if (mode === 'report' || (await removals.removeEmptyRepository(name))) yield { type: 'remove', kind: 'repository', name, reason: 'empty' }
}
