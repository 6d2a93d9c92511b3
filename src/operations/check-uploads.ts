import * as keys from '../content/keys.ts'
import { objectsBelow } from '../content/walk.ts'
import type { Name } from '../oci/name.ts'
import { parseSessionId } from '../oci/sink.ts'
import type { DamageEvent, WarningEvent } from './events.ts'
import type { Tree } from './tree.ts'

/** Removes expired upload sessions, and the debris of sessions that a crash ended. */
export async function* checkUploads(
  { content, storage, uploadIdleMs: uploadIdle, now }: Tree,
  name: Name,
  signal: AbortSignal
): AsyncGenerator<DamageEvent | WarningEvent, void> {
  const empty: string[] = []
  for await (const entry of storage.walk(keys.uploads(name))) {
    signal.throwIfAborted()
    const found = { kind: 'upload', session: entry.name, names: [name] } as const
    const id = parseSessionId(entry.name)
    if (entry.kind === 'prefix' && (await isEmpty(storage, entry.key))) empty.push(entry.key)
    else if (!id) yield { type: 'warning', ...found, reason: 'it is no upload session of this registry' }
    else {
      const session = await content.uploads.resume(name, id).catch(() => undefined)
      if (!session) yield { type: 'warning', ...found, reason: 'it is an upload session that cannot be resumed' }
      else if (await session.expire(now() - uploadIdle)) yield { type: 'damaged', ...found, reason: 'it has expired', action: 'removed' }
    }
  }
  // Checked again: a session that just begins has an empty prefix for a moment.
  for (const key of empty) {
    if (!(await isEmpty(storage, key))) continue
    await storage.remove([`${key}/data`], keys.uploads(name))
    const session = key.slice(key.lastIndexOf('/') + 1)
    yield { type: 'damaged', kind: 'upload', session, names: [name], reason: 'it is empty', action: 'removed' }
  }
}

async function isEmpty(storage: Tree['storage'], key: string): Promise<boolean> {
  for await (const _ of objectsBelow(storage, key)) return false
  return true
}
