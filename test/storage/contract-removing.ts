import { setTimeout as sleep } from 'node:timers/promises'
import { keysBelow, textOf, walked } from '../support/storage.ts'
import { bytes, type ContractTest, turns } from './contract-test.ts'

/** The contract of `move`, `remove` and `touch`. */
export const removing: Record<string, ContractTest> = {
  'remove takes objects away, and passes over what is not there': async (t, storage) => {
    for (const key of ['a/one', 'a/two', 'a/three']) await storage.put(key, bytes('x'))
    await storage.remove(['a/one', 'a/absent', 'absent/deep/key', 'a/two/below', `a/${'n'.repeat(300)}`, 'a/two'])
    t.strictSame(await keysBelow(storage, 'a'), ['a/three'])
    await storage.remove([])
  },
  'remove of a prefix takes nothing away': async (t, storage) => {
    await storage.put('a/b/c', bytes('x'))
    await storage.remove(['a/b'], 'a')
    t.equal(await textOf(storage, 'a/b/c'), 'x')
  },
  'remove takes prefixes that became empty away, those below `under` only': async (t, storage) => {
    await storage.put('top/keep/a/b/one', bytes('x'))
    await storage.remove(['top/keep/a/b/one'], 'top/keep')
    t.strictSame(await walked(storage, 'top/keep'), [])
  },
  'remove leaves prefixes in which something is left': async (t, storage) => {
    await storage.put('top/a/b/one', bytes('x'))
    await storage.put('top/a/c/two', bytes('x'))
    await storage.remove(['top/a/b/one'], 'top')
    t.strictSame(await walked(storage, 'top/a'), [{ key: 'top/a/c', name: 'c', kind: 'prefix' }])
  },
  'remove of a key that does not lie below `under` takes no prefix away': async (t, storage) => {
    await storage.put('top/ab/one', bytes('x'))
    await storage.put('top/ab/two', bytes('x'))
    await storage.remove(['top/ab/one'], 'top/a')
    t.strictSame(await keysBelow(storage, 'top'), ['top/ab/two'])
  },
  'a put into a prefix that is being emptied succeeds, and is there': async (t, storage) => {
    for (let round = 0; round < 60; round++) {
      await storage.put('top/x/y/old', bytes('x'))
      const keys = ['top/x/y/new', 'top/x/z/new', 'top/w/y/new']
      const puts = keys.map(async (key, at) => {
        await turns((round * (at + 1)) % 13)
        await storage.put(key, bytes('x'))
      })
      await Promise.all([storage.remove(['top/x/y/old'], 'top'), ...puts])
      const left = await keysBelow(storage, 'top')
      if (left.join() !== [...keys].sort().join()) t.fail(`round ${round}: ${left}`)
      await Promise.all(keys.map(key => storage.remove([key], 'top')))
      const [none, ...more] = await walked(storage, 'top')
      if (none || more.length > 0) t.fail(`round ${round}: ${none?.key} stayed`)
    }
    t.pass()
  },
  'a put and a remove of the same key at once both succeed': async (t, storage) => {
    for (let round = 0; round < 60; round++) {
      const removal = turns(round % 30).then(() => storage.remove(['top/a/b/key'], 'top'))
      await Promise.all([storage.put('top/a/b/key', bytes('x')), removal])
      const text = await textOf(storage, 'top/a/b/key')
      if (text !== undefined && text !== 'x') t.fail(`round ${round}: ${text}`)
      await storage.put('top/a/b/key', bytes('y'))
      if ((await textOf(storage, 'top/a/b/key')) !== 'y') t.fail(`round ${round}: what was put last is not there`)
      await storage.remove(['top/a/b/key'], 'top')
    }
    t.pass()
  },
  'move gives an object another key, and replaces what is there': async (t, storage) => {
    await storage.put('a/b/from', bytes('new'))
    await storage.put('c/to', bytes('old and long'))
    const before = await storage.stat('a/b/from')
    t.equal(await storage.move('a/b/from', 'c/to'), true)
    t.equal(await textOf(storage, 'c/to'), 'new')
    t.equal(await storage.stat('a/b/from'), undefined)
    t.ok(((await storage.stat('c/to'))?.modified ?? 0) >= (before?.modified ?? 0), 'it is no older than it was')
    t.equal(await storage.move('c/to', 'd/e/f/to'), true)
    t.strictSame(await keysBelow(storage, 'd'), ['d/e/f/to'])
  },
  'move of what is not there is false and leaves the other alone': async (t, storage) => {
    await storage.put('c/to', bytes('old'))
    await storage.put('a/b', bytes('x'))
    for (const from of ['absent', 'absent/deep/key', 'a/b/below', 'a']) t.equal(await storage.move(from, 'c/to'), false, from)
    t.equal(await textOf(storage, 'c/to'), 'old')
    t.equal(await textOf(storage, 'a/b'), 'x')
  },
  'what was opened before a move goes on giving its bytes': async (t, storage) => {
    await storage.put('a', bytes('bytes'))
    const object = await storage.open('a')
    await storage.move('a', 'b')
    const into = Buffer.alloc(5)
    await object?.readInto(into, 0)
    await object?.close()
    t.equal(into.toString(), 'bytes')
  },
  'touch renews the time of what is there, and passes over what is not': async (t, storage, { timeStepMs }) => {
    await storage.put('a', bytes('x'))
    const before = (await storage.stat('a'))?.modified ?? 0
    await sleep(timeStepMs)
    await storage.touch(['absent', 'a/below', `${'n'.repeat(300)}`, 'a'])
    t.ok(((await storage.stat('a'))?.modified ?? 0) > before)
    t.equal(await storage.stat('absent'), undefined)
    t.equal(await textOf(storage, 'a'), 'x')
  }
}

/** The contract of keys that are refused. */
export const refusing: Record<string, ContractTest> = {
  'a key that leads elsewhere is refused by every call': async (t, storage) => {
    const writer = await storage.create('good')
    for (const key of ['', '/', '/etc/passwd', '..', '../x', 'a/../../x', 'a/..', './a', 'a/./b', 'a//b', 'a/', 'a/\0b']) {
      const calls: Record<string, () => Promise<unknown>> = {
        open: () => storage.open(key),
        stat: () => storage.stat(key),
        get: () => storage.get(key),
        put: () => storage.put(key, bytes('x')),
        ensurePrefix: () => storage.ensurePrefix(key),
        create: () => storage.create(key),
        resume: () => storage.resume(key),
        walk: () => walked(storage, key),
        list: () => Array.fromAsync(storage.list(key)),
        touch: () => storage.touch([key]),
        'move from': () => storage.move(key, 'other'),
        'move to': () => storage.move('good', key),
        remove: () => storage.remove([key]),
        'remove under': () => storage.remove(['good'], key)
      }
      for (const [name, call] of Object.entries(calls)) await t.rejects(call(), `${name} ${JSON.stringify(key)}`)
    }
    await writer.discard()
  },
  'a writer whose target is refused publishes nothing and can be discarded': async (t, storage) => {
    const writer = await storage.create('good')
    await writer.write([bytes('x')])
    await t.rejects(writer.publish('../outside'))
    await writer.discard()
    t.equal(await storage.stat('good'), undefined)
  }
}
