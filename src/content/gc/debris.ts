import { isTag, type Name } from '../../oci/name.ts'
import * as keys from '../keys.ts'
import { leavesBelow } from '../walk.ts'
import type { GcRun, Removal } from './run.ts'

/** Removes what broken-off changes left in `name`, and the repository itself if there is nothing in it; `stays` is whether a manifest or a blob stays. */
export async function* removeDebris({ storage, content, mode, yielder: pace }: GcRun, name: Name, stays: boolean): AsyncGenerator<Removal> {
  const { removals: withdraw } = content
  let used = stays
  for await (const { name: tag } of storage.walk(keys.tags(name))) {
    await pace.step()
    if (!isTag(tag)) continue
    if (await storage.stat(keys.tag(name, tag))) used = true
    else if (mode === 'tell' || (await withdraw.removeBrokenTag(name, tag)))
      yield { type: 'remove', kind: 'tag', name, tag, reason: 'broken' }
  }
  for await (const { name: session, key } of storage.walk(keys.uploads(name))) {
    await pace.step()
    const objects = await Array.fromAsync(leavesBelow(storage, key))
    if (objects.some(each => each.object)) used = true
    else {
      if (mode === 'remove') await withdraw.removeEmptyUpload(name, session)
      yield { type: 'remove', kind: 'upload', name, reason: 'broken' }
    }
  }
  if (used) return
  if (mode === 'tell' || (await withdraw.removeEmptyRepository(name))) yield { type: 'remove', kind: 'repository', name, reason: 'empty' }
}
