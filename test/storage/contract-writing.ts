import { setTimeout as sleep } from 'node:timers/promises'
import { keysBelow, textOf } from '../support/storage.ts'
import { bytes, type ContractTest } from './contract-test.ts'

/** The contract of `put`. */
export const putting: Record<string, ContractTest> = {
  'put replaces what is there, also by something shorter': async (t, storage) => {
    await storage.put('a/b/c', bytes('long and old'))
    await storage.put('a/b/c', bytes('new'))
    t.equal(await textOf(storage, 'a/b/c'), 'new')
    t.strictSame(await keysBelow(storage, 'a'), ['a/b/c'], 'nothing beside it')
  },
  'readers of an object that is put again and again see it whole, the old or the new': async (t, storage) => {
    const size = 300_000
    await storage.put('a', Buffer.alloc(size, 'a'))
    const over = new AbortController()
    const look = async (): Promise<number> => {
      let looks = 0
      for (; !over.signal.aborted; looks++) {
        const read = await storage.get('a', size)
        if (read?.length !== size || !read.equals(Buffer.alloc(size, read[0]))) t.fail('a mixture, a part or nothing')
      }
      return looks
    }
    const readers = [look(), look()]
    for (const letter of 'bcdefghijklmnop') await storage.put('a', Buffer.alloc(size, letter))
    over.abort()
    for (const looks of await Promise.all(readers)) t.ok(looks > 0, `${looks} looks`)
  },
  'what was opened before a put goes on giving the bytes that it had': async (t, storage) => {
    await storage.put('a', bytes('the old'))
    const object = await storage.open('a')
    await storage.put('a', bytes('THE NEW AND LONG'))
    const into = Buffer.alloc(object?.size ?? 0)
    await object?.readInto(into, 0)
    await object?.close()
    t.equal(into.toString(), 'the old')
  },
  'puts to one key at once end in one of them': async (t, storage) => {
    await Promise.all(['x', 'y', 'z', 'x', 'y', 'z'].map(each => storage.put('a/b', Buffer.alloc(5000, each))))
    t.match(await textOf(storage, 'a/b'), /^(x+|y+|z+)$/)
    t.equal((await storage.stat('a/b'))?.size, 5000)
    t.strictSame(await keysBelow(storage, 'a'), ['a/b'])
  },
  'puts to one key at once end in one of them, also where they are not durable': async (t, storage) => {
    await Promise.all(['x', 'y', 'z'].map((each, at) => storage.put('a/b', Buffer.alloc(5000 + at, each), 'soon')))
    t.match(await textOf(storage, 'a/b'), /^(x{5000}|y{5001}|z{5002})$/)
  },
  'puts below one new prefix at once all succeed': async (t, storage) => {
    const keys = Array.from({ length: 20 }, (_, at) => `new/deep/${at % 4}/${at + 10}`)
    await Promise.all(keys.map(key => storage.put(key, bytes(key))))
    t.strictSame((await keysBelow(storage, 'new')).sort(), keys.sort())
  }
}

/** The contract of writers. */
export const writing: Record<string, ContractTest> = {
  'statUnfinished gives the size of what was written and closed': async (t, storage) => {
    const writer = await storage.create('a/growing')
    await writer.write([bytes('01234')])
    t.equal(writer.offset, 5)
    t.equal(writer.key, 'a/growing')
    await writer.close()
    t.match(await storage.statUnfinished('a/growing'), { key: 'a/growing', size: 5 })
  },
  'the options of create change nothing of what is published': async (t, storage) => {
    for (const size of [0, 1, 300_000]) {
      const writer = await storage.create('up/data', { earlier: 'nothing', publishTo: `to/${size}` })
      await writer.write([Buffer.alloc(size, 'a')])
      t.equal(writer.offset, size)
      await writer.publish(`to/${size}`)
      t.equal((await storage.get(`to/${size}`, size + 1))?.toString(), 'a'.repeat(size))
      t.equal(await storage.statUnfinished('up/data'), undefined)
    }
    for (const end of ['discard', 'truncate'] as const) {
      const writer = await storage.create('up/data', { earlier: 'nothing', publishTo: 'to/b' })
      await writer.write([bytes('wrong')])
      if (end === 'truncate') await writer.truncate(0)
      if (end === 'truncate') await writer.write([bytes('right')])
      if (end === 'truncate') await writer.publish('to/b')
      else await writer.discard()
      t.equal(await textOf(storage, 'to/b'), end === 'truncate' ? 'right' : undefined)
    }
  },
  'create drops what an earlier writer left': async (t, storage) => {
    const earlier = await storage.create('a/b')
    await earlier.write([bytes('old and long')])
    await earlier.close()
    const writer = await storage.create('a/b')
    t.equal(writer.offset, 0)
    await writer.write([bytes('new')])
    await writer.close()
    t.match(await storage.statUnfinished('a/b'), { size: 3 })
    const resumed = await storage.resume('a/b')
    await resumed?.publish('c')
    t.equal(await textOf(storage, 'c'), 'new')
  },
  'what is put soon is there, and replaces what was there': async (t, storage) => {
    await storage.put('a/b', bytes('long and old'), 'soon')
    await storage.put('a/b', bytes('new'), 'soon')
    t.equal(await textOf(storage, 'a/b'), 'new')
  },
  'what is staged can be read while it is written, and after it was published or discarded': async (t, storage) => {
    for (const end of ['publish', 'discard'] as const) {
      const staged = await storage.stage('to/final', 10)
      const read = async (position: number) => {
        const into = Buffer.alloc(20)
        return into.toString('utf8', 0, await staged.reader.readInto(into, position))
      }
      await staged.write([bytes('01234')])
      t.equal(await read(0), '01234')
      t.equal(await storage.stat('to/final'), undefined, 'nothing is there before the end')
      await staged.write([bytes('56789')])
      t.equal(await read(3), '3456789')
      if (end === 'publish') await staged.publish('to/final')
      else await staged.discard()
      t.equal(await read(8), '89')
      t.equal(await read(10), '')
      await staged.reader.close()
      t.equal(await textOf(storage, 'to/final'), end === 'publish' ? '0123456789' : undefined)
      await storage.remove(['to/final'])
    }
    t.strictSame(await keysBelow(storage, 'to'), [])
  },
  'a fingerprint identifies the bytes: a writer that resumes them has the same one': async (t, storage) => {
    const first = await storage.create('a/b')
    await first.write([bytes('one ')])
    await first.close()
    const fingerprint = first.fingerprint(4)
    t.ok(fingerprint)
    const second = await storage.resume('a/b')
    t.equal(second?.fingerprint(4), fingerprint)
    t.equal(second?.fingerprint(5), undefined, 'bytes that are not there have none')
    await second?.write([bytes('two')])
    await second?.publish('c')
    t.equal(await textOf(storage, 'c'), 'one two')
  },
  'create of one key by several at once, where nothing was, gives each a writer': async (t, storage) => {
    const writers = await Promise.all([1, 2, 3, 4].map(() => storage.create('new/prefix/a')))
    await Promise.all(writers.map(writer => writer.write([bytes('same')])))
    for (const writer of writers) await writer.close()
    const again = await storage.resume('new/prefix/a')
    t.equal(again?.offset, 4)
    await again?.publish('b')
    t.equal(await textOf(storage, 'b'), 'same')
  },
  'thousands of chunks in one write, empty ones among them, arrive in order': async (t, storage) => {
    const chunks = Array.from({ length: 5000 }, (_, at) => bytes(at % 3 === 0 ? '' : `${at},`))
    const whole = Buffer.concat(chunks)
    const writer = await storage.create('new/a')
    await writer.write([])
    await writer.write([new Uint8Array(), new Uint8Array()])
    t.equal(writer.offset, 0)
    await writer.write(chunks)
    await writer.write([new Uint8Array(), bytes('end')])
    t.equal(writer.offset, whole.length + 3)
    await writer.publish('a')
    t.equal(await textOf(storage, 'a'), `${whole}end`)
  },
  'truncate cuts back what was closed as well, to its start too': async (t, storage) => {
    const first = await storage.create('new/a')
    await first.write([bytes('0123456789')])
    await first.close()
    const second = await storage.resume('new/a')
    await second?.truncate(3)
    t.equal(second?.offset, 3)
    await second?.close()
    t.match(await storage.statUnfinished('new/a'), { size: 3 })
    const third = await storage.resume('new/a')
    await third?.write([bytes('xy')])
    await third?.truncate(0)
    await third?.write([bytes('z')])
    await third?.publish('b')
    t.equal(await textOf(storage, 'b'), 'z')
    t.strictSame(await keysBelow(storage, 'new'), [])
  },
  'an object of no bytes can be published': async (t, storage) => {
    const writer = await storage.create('new/a')
    await writer.publish('b')
    t.equal(await textOf(storage, 'b'), '')
  },
  'truncate cuts back, and the next write goes on from there': async (t, storage) => {
    const writer = await storage.create('new/a')
    await writer.write([bytes('0123456789')])
    await writer.truncate(4)
    t.equal(writer.offset, 4)
    await writer.write([bytes('xy')])
    await writer.publish('b')
    t.equal(await textOf(storage, 'b'), '0123xy')
  },
  'a writer reads what was written, from the start': async (t, storage) => {
    const writer = await storage.create('new/a')
    await writer.write([bytes('0123456789')])
    const into = Buffer.alloc(20)
    t.equal(await writer.read(into, 0), 10)
    t.equal(into.toString('utf8', 0, 10), '0123456789')
    t.equal(await writer.read(into, 10), 0)
    await writer.discard()
  },
  'resume goes on where the writer was closed': async (t, storage) => {
    const first = await storage.create('a/b')
    await first.write([bytes('one ')])
    await first.close()
    const second = await storage.resume('a/b')
    t.equal(second?.offset, 4)
    await second?.write([bytes('two')])
    await second?.publish('c/d')
    t.equal(await textOf(storage, 'c/d'), 'one two')
  },
  'publish moves the object, replaces what is there, and leaves nothing behind': async (t, storage) => {
    await storage.put('to/object', bytes('old and long'))
    const writer = await storage.create('from/object')
    await writer.write([bytes('new')])
    await writer.publish('to/object')
    t.equal(await textOf(storage, 'to/object'), 'new')
    t.strictSame(await keysBelow(storage, 'from'), [])
    t.equal(await storage.statUnfinished('from/object'), undefined)
  },
  'publish renews the time, however long ago the last byte was written': async (t, storage, { timeStepMs }) => {
    const writer = await storage.create('new/a')
    await writer.write([bytes('x')])
    await sleep(timeStepMs)
    const marker = await storage.create('marker')
    await marker.publish('marker-published')
    await sleep(timeStepMs)
    await writer.publish('b')
    const [published, between] = [await storage.stat('b'), await storage.stat('marker-published')]
    t.ok(published && between && published.modified > between.modified, `${published?.modified} after ${between?.modified}`)
  },
  'discard leaves nothing, also after close': async (t, storage) => {
    const writer = await storage.create('a/b')
    await writer.write([bytes('x')])
    await writer.close()
    await writer.discard()
    t.strictSame(await keysBelow(storage, 'a'), [])
    await writer.discard()
    await writer.close()
  },
  'close twice keeps what was written until it is discarded': async (t, storage) => {
    const writer = await storage.create('a/b')
    await writer.write([bytes('x')])
    await writer.close()
    await writer.close()
    t.match(await storage.statUnfinished('a/b'), { size: 1 })
  }
}
