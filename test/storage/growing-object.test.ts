import { type Test, test } from 'tap'
import { GrowingObject } from '../../storage/growing-object.ts'
import { keysBelow, openStorage } from '../support/storage.ts'

const key = 'docker/x/data'
const never = new AbortController().signal

async function grow(t: Test) {
  const storage = await openStorage(t)
  const growing = await GrowingObject.create(storage, key)
  const write = (text: string) => growing.write([Buffer.from(text)])
  t.teardown(() => growing.writer.discard())
  return { storage, growing, write }
}

/** Reads from `position` on to the end. */
async function readFrom(body: ReturnType<GrowingObject['reader']>, position = 0): Promise<string> {
  const into = Buffer.alloc(3)
  let text = ''
  for (let read = -1; read !== 0; ) {
    read = await body.readInto(into, position + text.length)
    text += into.toString('latin1', 0, read)
  }
  await body.close()
  return text
}

test('Growing: readers follow what is released, and end where it is complete', async t => {
  const { growing, write } = await grow(t)
  const all = Promise.all([readFrom(growing.reader(never)), readFrom(growing.reader(never), 4), readFrom(growing.reader(never))])
  await write('hello ')
  growing.release(6)
  await write('world')
  growing.complete()
  await growing.end()
  t.strictSame(await all, ['hello world', 'o world', 'hello world'])
})

test('Growing: a reader sees no byte that was not released', async t => {
  const { growing, write } = await grow(t)
  await write('hello')
  growing.release(2)
  const body = growing.reader(never)
  t.equal(await body.readInto(Buffer.alloc(10), 0), 2)
  const third = body.readInto(Buffer.alloc(10), 2)
  growing.fail(new Error('wrong'))
  await t.rejects(third, /wrong/)
  await body.close()
})

test('Growing: what was released can still be read after a failure, what follows is the error', async t => {
  const { growing, write } = await grow(t)
  await write('hello')
  growing.release(2)
  growing.fail(new Error('wrong'))
  const body = growing.reader(never)
  t.equal(await body.readInto(Buffer.alloc(10), 0), 2)
  await t.rejects(body.readInto(Buffer.alloc(10), 2), /wrong/)
  await body.close()
})

test('Growing: a release further back takes nothing away', async t => {
  const { growing, write } = await grow(t)
  await write('hello')
  growing.release(4)
  growing.release(-100)
  const body = growing.reader(never)
  t.equal(await body.readInto(Buffer.alloc(10), 0), 4)
  await body.close()
})

test("Growing: a reader that leaves while it waits gets its signal's reason, and the others go on", async t => {
  const { growing, write } = await grow(t)
  const leaving = new AbortController()
  const [left, stays] = [growing.reader(leaving.signal), readFrom(growing.reader(never))]
  const waiting = left.readInto(Buffer.alloc(1), 0)
  leaving.abort(new Error('gone'))
  await t.rejects(waiting, /gone/)
  await left.close()
  await write('abc')
  growing.complete()
  await growing.end()
  t.equal(await stays, 'abc')
})

test('Growing: readers finish after the file was published or discarded', async t => {
  const { storage, growing, write } = await grow(t)
  await write('abc')
  growing.complete()
  const [first, second] = [growing.reader(never), growing.reader(never)]
  await growing.writer.publish('docker/x/data')
  await growing.end()
  t.equal(await readFrom(first), 'abc')
  t.equal(await readFrom(second), 'abc')
  t.strictSame(await keysBelow(storage, '.registry/tmp'), [])
})

test('Growing: a reader that is closed twice leaves the others their file', async t => {
  const { growing, write } = await grow(t)
  await write('abc')
  growing.complete()
  const [first, second] = [growing.reader(never), growing.reader(never)]
  await growing.end()
  await first.close()
  await first.close()
  t.equal(await readFrom(second), 'abc')
})

test('filesystem: a file that is staged and cannot be opened for reading is not left behind', async t => {
  const storage = await openStorage(t)
  for (const open of [() => Promise.reject(new Error('no more files')), async () => undefined]) {
    storage.open = open
    await t.rejects(GrowingObject.create(storage, key), /no more files|vanished/)
  }
  t.strictSame(await keysBelow(storage, '.registry/tmp'), [])
})
