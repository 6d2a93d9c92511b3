import { keysBelow, walked } from '../support/storage.ts'
import { bytes, type Promised } from './promise.ts'

/** What readers are promised. */
export const reading: Record<string, Promised> = {
  'what is not there is undefined, whatever way it is asked for': async (t, storage) => {
    await storage.put('a/object', bytes('x'))
    for (const key of ['absent', 'a/absent', 'absent/below', 'a/object/below', 'a', `a/${'n'.repeat(300)}`]) {
      t.equal(await storage.open(key), undefined, `open ${key}`)
      t.equal(await storage.stat(key), undefined, `stat ${key}`)
      t.equal(await storage.get(key), undefined, `get ${key}`)
      t.equal(await storage.resume(key), undefined, `resume ${key}`)
    }
  },
  'an open object tells its size, its time, and its bytes at any position': async (t, storage) => {
    const before = Date.now() - 1000
    await storage.put('a/object', bytes('0123456789'))
    const object = await storage.open('a/object', { first: 2, last: 5 })
    if (!object) return void t.fail('it is there')
    t.equal(object.size, 10, 'of the whole object, whatever part is wanted')
    t.ok(object.modified >= before && object.modified <= Date.now() + 1000)
    const into = Buffer.alloc(4)
    t.equal(await object.readInto(into, 2), 4)
    t.equal(into.toString(), '2345')
    await object.close()
  },
  'the end of an object reads as 0 bytes': async (t, storage) => {
    await storage.put('a', bytes('0123456789'))
    const object = await storage.open('a')
    t.equal(await object?.readInto(Buffer.alloc(100), 8), 2)
    t.equal(await object?.readInto(Buffer.alloc(100), 10), 0)
    t.equal(await object?.readInto(Buffer.alloc(100), 11), 0)
    await object?.close()
  },
  'get takes an object of the limit and refuses one that is larger with EFBIG': async (t, storage) => {
    await storage.put('small', Buffer.alloc(65_536, 1))
    await storage.put('large', Buffer.alloc(65_537, 1))
    t.equal((await storage.get('small'))?.length, 65_536)
    t.equal((await storage.get('large', 65_537))?.length, 65_537)
    await t.rejects(storage.get('large'), { code: 'EFBIG' })
    await t.rejects(storage.get('small', 65_535), { code: 'EFBIG' })
  },
  'an object of 0 bytes is an object': async (t, storage) => {
    await storage.put('a/empty', new Uint8Array())
    t.match(await storage.stat('a/empty'), { key: 'a/empty', size: 0 })
    t.equal((await storage.get('a/empty', 0))?.length, 0)
    t.strictSame(await keysBelow(storage, 'a'), ['a/empty'])
  },
  'usage tells space in bytes and inodes': async (t, storage) => {
    const { free, total, inodesFree, inodesTotal } = await storage.usage()
    t.ok(free > 0 && free <= total, `${free} of ${total}`)
    t.ok(inodesFree >= 0 && inodesFree <= inodesTotal)
  }
}

/** What `walk` promises. */
export const walking: Record<string, Promised> = {
  'walk gives names in byte order, not in that of a language': async (t, storage) => {
    const names = ['-', '.x', '0', '10', '9', 'A', 'Z', '_', 'a', 'a-b', 'a.b', 'a0', 'aa', 'b']
    for (const name of [...names].reverse()) await storage.put(`top/${name}`, bytes('x'))
    t.strictSame(
      (await walked(storage, 'top')).map(each => each.name),
      names
    )
  },
  'walk gives objects and prefixes directly below, with their keys': async (t, storage) => {
    await storage.put('top/b/c/d', bytes('x'))
    await storage.put('top/a', bytes('x'))
    t.strictSame(await walked(storage, 'top'), [
      { key: 'top/a', name: 'a', kind: 'object' },
      { key: 'top/b', name: 'b', kind: 'prefix' }
    ])
  },
  'walk after a name gives the later ones, whether or not the name is there': async (t, storage) => {
    for (const name of ['a', 'c', 'e']) await storage.put(`top/${name}`, bytes('x'))
    const after = async (name: string) => (await walked(storage, 'top', name)).map(each => each.name).join('')
    t.equal(await after(''), 'ace')
    t.equal(await after('a'), 'ce')
    t.equal(await after('b'), 'ce')
    t.equal(await after('e'), '')
    t.equal(await after('\u{1f600}'), '')
    t.equal(await after('A'), 'ace')
  },
  'walk below what is absent, or below an object, gives nothing': async (t, storage) => {
    await storage.put('top/object', bytes('x'))
    t.strictSame(await walked(storage, 'top/absent/deep'), [])
    t.strictSame(await walked(storage, 'top/object'), [])
  },
  'walk may be left early': async (t, storage) => {
    for (const name of 'abc') await storage.put(`top/${name}`, bytes('x'))
    for await (const { name } of storage.walk('top')) {
      t.equal(name, 'a')
      break
    }
  }
}
