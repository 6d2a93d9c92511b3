import type { Test } from 'tap'
import { threadPoolSize } from '../../config/environment.ts'
import { type FilesystemOptions, FilesystemStorage } from '../../storage/fs/filesystem.ts'
import type { Key, ObjectStat, Storage, WalkEntry, Writer } from '../../storage/storage.ts'
import { temporaryDirectory } from './place.ts'

/** Storage in `directory`, else in a new one, closed when the test ends. */
export async function openStorage(t: Test, directory?: string, options?: FilesystemOptions): Promise<FilesystemStorage> {
  const disk = { threadPoolSize: threadPoolSize(), ...options?.disk }
  const storage = await FilesystemStorage.open(directory ?? (await temporaryDirectory(t)), { ...options, disk })
  t.teardown(() => storage.close())
  return storage
}

/** Storage that calls `watch` before each call and waits for it; what `watch` throws, the call rejects with. */
export function watchStorage(storage: Storage, watch: (call: string, key: Key) => void | Promise<void>): Storage {
  const watched = (writer: Writer): Writer => ({
    key: writer.key,
    get offset() {
      return writer.offset
    },
    write: async (chunks, signal) => {
      await watch('write', writer.key)
      return writer.write(chunks, signal)
    },
    truncate: offset => writer.truncate(offset),
    read: (into, position) => writer.read(into, position),
    fingerprint: offset => writer.fingerprint(offset),
    publish: async to => {
      await watch('publish', to)
      return writer.publish(to)
    },
    discard: () => writer.discard(),
    close: () => writer.close()
  })
  const each = async (call: string, keys: readonly Key[]): Promise<void> => {
    for (const key of keys) await watch(call, key)
  }
  return {
    sharing: storage.sharing,
    ...(storage.conditionalObjects ? { conditionalObjects: storage.conditionalObjects } : {}),
    ...(storage.now ? { now: () => storage.now?.() ?? 0 } : {}),
    open: (key, range) => each('open', [key]).then(() => storage.open(key, range)),
    stat: key => each('stat', [key]).then(() => storage.stat(key)),
    get: (key, limit) => each('get', [key]).then(() => storage.get(key, limit)),
    put: (key, bytes, promise) => each(promise === 'soon' ? 'put soon' : 'put', [key]).then(() => storage.put(key, bytes, promise)),
    ensurePrefix: prefix => each('ensurePrefix', [prefix]).then(() => storage.ensurePrefix(prefix)),
    create: (key, known) => each('create', [key]).then(async () => watched(await storage.create(key, known))),
    resume: async key => {
      await watch('resume', key)
      const writer = await storage.resume(key)
      return writer && watched(writer)
    },
    statUnfinished: key => each('written', [key]).then(() => storage.statUnfinished(key)),
    stage: async (to, size) => {
      await watch('stage', to)
      const staged = await storage.stage(to, size)
      return Object.assign(watched(staged), { reader: staged.reader })
    },
    move: async (from, to) => {
      await watch('move', from)
      return storage.move(from, to)
    },
    walk: (prefix, after) => storage.walk(prefix, after),
    list: (prefix, after) => storage.list(prefix, after),
    touch: keys => each('touch', keys).then(() => storage.touch(keys)),
    remove: (keys, under, signal) => each('remove', keys).then(() => storage.remove(keys, under, signal)),
    check: () => storage.check(),
    checkWritable: () => storage.checkWritable(),
    usage: () => storage.usage(),
    shortage: bytes => storage.shortage(bytes),
    recount: signal => storage.recount(signal),
    close: () => storage.close()
  }
}

/** All keys of objects below `prefix`, in order. */
export async function keysBelow(storage: Storage, prefix: Key): Promise<Key[]> {
  const found: Key[] = []
  for await (const { key, kind } of storage.walk(prefix)) found.push(...(kind === 'object' ? [key] : await keysBelow(storage, key)))
  return found
}

/** What `walk` gives. */
export async function walked(storage: Storage, prefix: Key, after?: string): Promise<WalkEntry[]> {
  return Array.fromAsync(storage.walk(prefix, after))
}

/** An object whole, of whatever size. */
export async function textOf(storage: Storage, key: Key): Promise<string | undefined> {
  return (await storage.get(key, Number.MAX_SAFE_INTEGER))?.toString()
}

/** What `list` gives. */
export async function listed(storage: Storage, prefix: Key): Promise<ObjectStat[]> {
  return Array.fromAsync(storage.list(prefix))
}
