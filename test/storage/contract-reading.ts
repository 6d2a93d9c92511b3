import { keysBelow, walked } from '../support/storage.ts'
import { bytes, type ContractTest } from './contract-test.ts'

/** The contract of reading. */
export const reading: Record<string, ContractTest> = {
  'an absent object is undefined in every call': async (t, storage) => {
    await storage.put('a/object', bytes('x'))
    for (const key of ['absent', 'a/absent', 'absent/below', 'a/object/below', 'a', `a/${'n'.repeat(300)}`]) {
      t.equal(await storage.open(key), undefined, `open ${key}`)
      t.equal(await storage.stat(key), undefined, `stat ${key}`)
      t.equal(await storage.get(key), undefined, `get ${key}`)
      t.equal(await storage.resume(key), undefined, `resume ${key}`)
      t.equal(await storage.statUnfinished(key), undefined, `statUnfinished ${key}`)
    }
  },
  'an open object has its size, its time, and its bytes at any position': async (t, storage) => {
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
  'an object larger than any buffer reads the same from the start, from the middle, and in jumps': async (t, storage) => {
    const whole = Buffer.from(Array.from({ length: 700_000 }, (_, at) => (at * 7 + (at >> 9)) & 255))
    await storage.put('a', whole)
    const object = await storage.open('a')
    const read = async (position: number, length: number) => {
      const into = Buffer.alloc(length)
      let filled = 0
      for (let some = -1; some !== 0 && filled < length; filled += some)
        some = (await object?.readInto(into.subarray(filled), position + filled)) ?? 0
      return into.subarray(0, filled)
    }
    for (const [position, length] of [
      [0, 700_000],
      [300_001, 250_000],
      [5, 10],
      [699_999, 10],
      [15, 300_000]
    ] as const)
      t.ok((await read(position, length)).equals(whole.subarray(position, position + length)), `${length} bytes at ${position}`)
    await object?.close()
  },
  'an object can be closed unread, before its end, and twice': async (t, storage) => {
    await storage.put('a', Buffer.alloc(3_000_000, 1))
    const [unread, begun] = [await storage.open('a'), await storage.open('a', { first: 1_000_000 })]
    await unread?.close()
    t.ok(((await begun?.readInto(Buffer.alloc(10), 1_000_000)) ?? 0) > 0)
    await begun?.close()
    t.equal((await storage.get('a', 3_000_000))?.length, 3_000_000)
  },
  'a range beyond the end gives the size all the same': async (t, storage) => {
    await storage.put('a', bytes('0123456789'))
    await storage.put('empty', bytes(''))
    for (const [key, range, size] of [
      ['a', { first: 10 }, 10],
      ['a', { first: 50, last: 60 }, 10],
      ['a', { suffix: 3 }, 10],
      ['a', { suffix: 50 }, 10],
      ['empty', { first: 0 }, 0],
      ['empty', { suffix: 5 }, 0]
    ] as const) {
      const object = await storage.open(key, range)
      t.equal(object?.size, size, `${key} ${JSON.stringify(range)}`)
      t.equal(await object?.readInto(Buffer.alloc(3), size), 0)
      await object?.close()
    }
  },
  'usage reports space, where the storage has an end': async (t, storage) => {
    const { free = 0, total = 0, inodesFree = 0, inodesTotal = 0 } = await storage.usage()
    t.ok(free >= 0 && free <= total, `${free} of ${total}`)
    t.ok(inodesFree >= 0 && inodesFree <= inodesTotal)
  },
  'check and checkWritable resolve where the storage can be read and written': async (t, storage) => {
    await storage.check()
    await storage.checkWritable()
    t.strictSame(await keysBelow(storage, 'docker'), [])
  }
}

/** The contract of `walk` and `list`. */
export const walking: Record<string, ContractTest> = {
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
  'walk orders objects and prefixes by their bare names, whatever follows them': async (t, storage) => {
    const objects = ['v1-a', 'v1.0', 'v1', 'v1.0.0-x', 'v1.1', 'v10', 'w', 'w-', 'w.', 'a b', 'a!', 'a#x', 'a+b', 'a,b', 'v1-']
    const prefixes = ['v1.0.0', 'v1.0-a', 'v1.0.0-a', 'a', 'w-1', 'w-.', 'v', 'u-v.w-x', 'u']
    for (const name of objects) await storage.put(`top/${name}`, bytes('x'))
    for (const name of prefixes) await storage.put(`top/${name}/below/deep`, bytes('x'))
    const names = [...objects, ...prefixes].sort()
    const found = await walked(storage, 'top')
    t.strictSame(
      found.map(each => each.name),
      names
    )
    for (const { name, kind } of found) t.equal(kind, prefixes.includes(name) ? 'prefix' : 'object', name)
    for (const after of [...names, 'v1.', 'v1/', 'u-', 'a"', 'zzz'])
      t.strictSame(
        (await walked(storage, 'top', after)).map(each => each.name),
        names.filter(name => name > after),
        `after ${after}`
      )
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
  'list gives all objects below a prefix in the order of their whole keys, with size and time': async (t, storage) => {
    const before = Date.now() - 2_000
    const keys = ['v1/b/c', 'v1/a', 'v1-a/x', 'v1-a.b', 'v1.0/x', 'v10', 'a/b/c/d/e', 'z']
    for (const key of keys) await storage.put(`top/${key}`, bytes(key))
    await storage.put('topper/x', bytes('x'))
    const found = await Array.fromAsync(storage.list('top'))
    t.strictSame(
      found.map(each => each.key),
      keys.map(key => `top/${key}`).sort()
    )
    for (const { key, size, modified } of found) {
      t.equal(size, key.length - 'top/'.length)
      t.ok(modified >= before && modified <= Date.now() + 1_000)
    }
    for (const after of ['top/v1/a', 'top/v1', 'top/v1-a', 'top/a/b', 'top/a/b/c/d/e', 'top/zz', 'top'])
      t.strictSame(
        await Array.fromAsync(storage.list('top', after), each => each.key),
        keys
          .map(key => `top/${key}`)
          .filter(key => key > after)
          .sort(),
        `after ${after}`
      )
  },
  'list below what is absent, or below an object, gives nothing': async (t, storage) => {
    await storage.put('top/object', bytes('x'))
    t.strictSame(await Array.fromAsync(storage.list('top/absent')), [])
    t.strictSame(await Array.fromAsync(storage.list('top/object')), [])
  },
  'walk may be left early': async (t, storage) => {
    for (const name of 'abc') await storage.put(`top/${name}`, bytes('x'))
    for await (const { name } of storage.walk('top')) {
      t.equal(name, 'a')
      break
    }
  }
}
