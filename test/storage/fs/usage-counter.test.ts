import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { lstat, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { type Test, test } from 'tap'
import { FilesystemStorage } from '../../../storage/fs/filesystem.ts'
import type { Storage, Writer } from '../../../storage/storage.ts'
import { temporaryDirectory } from '../../support/place.ts'
import { fc } from '../../support/seeded.ts'
import { openStorage } from '../../support/storage.ts'

const signal = new AbortController().signal
const uncounted = new Set(['.registry/lock', '.registry/owner', '.registry/account'])

/** What is there, without the storage's own files. */
async function truth(root: string): Promise<{ used: number; usedInodes: number }> {
  const found = { used: 0, usedInodes: 0 }
  for (const entry of await readdir(root, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name)
    if (uncounted.has(path.slice(root.length + 1))) continue
    found.usedInodes++
    if (entry.isFile()) found.used += (await lstat(path)).size
  }
  return found
}

async function counted(storage: FilesystemStorage): Promise<{ used: number; usedInodes: number; exact: boolean }> {
  const { used, usedInodes, exact } = await storage.usage()
  return { used, usedInodes, exact }
}

type Step = [kind: number, which: number, other: number, bytes: number]

/** Changes of all kinds, one after another; gives the writers that are left open. */
async function change(storage: Storage, steps: readonly Step[]): Promise<Writer[]> {
  const open: Writer[] = []
  const keyOf = (which: number) => `d${which % 3}/e${which % 2}/object${which % 4}`
  for (const [at, [kind, which, other, bytes]] of steps.entries()) {
    const writer = open[which % open.length]
    if (writer && kind >= 8) open.splice(open.indexOf(writer), 1)
    if (kind < 3) await storage.put(keyOf(which), Buffer.alloc(bytes))
    else if (kind === 3) await storage.remove([keyOf(which), keyOf(other)], `d${which % 3}`)
    else if (kind === 4) await storage.ensurePrefix(`p${which % 3}/q${other % 3}`)
    else if (kind === 5) open.push(await storage.create(`growing/${at}`))
    else if (kind === 6) await writer?.write([Buffer.alloc(bytes), Buffer.alloc(other)])
    else if (kind === 7) await writer?.truncate(Math.min(bytes, writer.offset))
    else if (kind === 8) await writer?.publish(keyOf(other))
    else if (kind === 9) await writer?.discard()
  }
  return open
}

const small = fc.nat({ max: 11 })
const steps = fc.array(fc.tuple(fc.nat({ max: 9 }), small, small, fc.nat({ max: 9000 })), { minLength: 20, maxLength: 60, size: 'max' })

test('usage: what is used is what is there, after any changes, and after the next start', async t => {
  await fc.assert(
    fc.asyncProperty(steps, steps, async (before, after) => {
      const root = await temporaryDirectory(t)
      const first = await FilesystemStorage.open(root)
      const open = await change(first, before)
      t.strictSame(await counted(first), { ...(await truth(root)), exact: true })
      for (const writer of open) await writer.close()
      await first.close()
      const second = await FilesystemStorage.open(root)
      t.strictSame(await counted(second), { ...(await truth(root)), exact: true }, 'without a recount')
      for (const writer of await change(second, after)) await writer.close()
      await second.recount(signal)
      t.strictSame(await counted(second), { ...(await truth(root)), exact: true }, 'and a recount finds the same')
      await second.close()
    }),
    { numRuns: 12 }
  )
})

test('usage: writers beside each other, and those that replace each other, are counted once', async t => {
  const root = await temporaryDirectory(t)
  const storage = await openStorage(t, root)
  const writers = Array.from({ length: 40 }, async (_, at) => {
    await storage.put(`same/${at % 3}`, Buffer.alloc(100 + at))
    if (at % 4 === 0) await storage.remove([`same/${at % 3}`], 'same')
  })
  await Promise.all(writers)
  t.strictSame(await counted(storage), { ...(await truth(root)), exact: true })
})

test('usage: a create over an object that is there counts only what is there afterwards', async t => {
  const root = await temporaryDirectory(t)
  const storage = await openStorage(t, root)
  await storage.put('a/b', Buffer.alloc(5000))
  const writer = await storage.create('a/b')
  t.strictSame(await counted(storage), { ...(await truth(root)), exact: true })
  await writer.discard()
  t.strictSame(await counted(storage), { ...(await truth(root)), exact: true })
})

test('usage: temp files that the next start removes go out of the count', async t => {
  const root = await temporaryDirectory(t)
  const first = await FilesystemStorage.open(root)
  const writer = await first.create('.registry/tmp/left')
  await writer.write([Buffer.alloc(7000)])
  await writer.close()
  await first.close()
  const storage = await openStorage(t, root)
  t.strictSame(await counted(storage), { ...(await truth(root)), exact: true })
})

/** A process that writes until it is killed. */
async function killed(t: Test, root: string): Promise<void> {
  const child = spawn(process.execPath, [fileURLToPath(new URL('writing.ts', import.meta.url)), root], {
    stdio: ['ignore', 'pipe', 'inherit']
  })
  t.teardown(() => child.kill('SIGKILL'))
  let written = 0
  for await (const chunk of child.stdout) {
    written += chunk.length
    if (written > 200) break
  }
  child.kill('SIGKILL')
  if (child.exitCode === null && child.signalCode === null) await once(child, 'exit')
}

test('usage: after kill -9 it is never below the truth, is reported as inexact, and is exact again after a recount', async t => {
  const root = await temporaryDirectory(t)
  for (let round = 0; round < 3; round++) {
    await killed(t, root)
    const storage = await FilesystemStorage.open(root)
    const [known, found] = [await counted(storage), await truth(root)]
    t.ok(known.used >= found.used, `${known.used} of ${found.used} bytes`)
    t.ok(known.usedInodes >= found.usedInodes, `${known.usedInodes} of ${found.usedInodes} inodes`)
    t.equal(known.exact, false)
    if (round > 0) {
      await storage.recount(signal)
      t.strictSame(await counted(storage), { ...(await truth(root)), exact: true })
      await storage.close()
    } else await storage.close()
    const again = await FilesystemStorage.open(root)
    t.equal((await counted(again)).exact, round > 0, 'a clean end keeps what was known')
    await again.close()
  }
})

test('usage: a tree that was never counted is taken to fill its disk until the first recount', async t => {
  const root = await temporaryDirectory(t)
  const first = await FilesystemStorage.open(root)
  await first.put('a/b', Buffer.alloc(1000))
  await first.close()
  await rm(join(root, '.registry/account'))
  const storage = await FilesystemStorage.open(root)
  const { used, free, total, exact } = await storage.usage()
  t.equal(exact, false)
  t.ok(used > 1000 && used <= total && total - free > 1000)
  while (!(await storage.usage()).exact) await new Promise(resolve => setTimeout(resolve, 10))
  t.strictSame(await counted(storage), { ...(await truth(root)), exact: true })
  await storage.close()
})

test('usage: a stored usage that cannot be read is ignored', async t => {
  const root = await temporaryDirectory(t)
  const first = await FilesystemStorage.open(root)
  await first.put('a/b', Buffer.alloc(1000))
  await first.close()
  t.match(await readFile(join(root, '.registry/account'), 'utf8'), /"exact":true/)
  for (const text of ['', 'null', '{"bytes":-1,"inodes":1,"exact":true}', '{"bytes":1}', '\0'.repeat(512)]) {
    await writeFile(join(root, '.registry/account'), text)
    const storage = await FilesystemStorage.open(root)
    t.equal((await counted(storage)).exact, false, JSON.stringify(text.slice(0, 40)))
    await storage.close()
  }
})

test('usage: a recount does not miss what is written meanwhile', async t => {
  const root = await temporaryDirectory(t)
  const storage = await openStorage(t, root)
  for (let at = 0; at < 200; at++) await storage.put(`a/${at % 20}/${at}`, Buffer.alloc(10))
  let over = false
  const counting = storage.recount(signal).finally(() => {
    over = true
  })
  for (let at = 0; !over; at++) await storage.put(`b/${at}`, Buffer.alloc(100))
  await counting
  const [known, found] = [await counted(storage), await truth(root)]
  t.ok(known.used >= found.used && known.usedInodes >= found.usedInodes)
  t.equal(known.exact, false)
})

test('usage: concurrent puts in place to one key count once', async t => {
  const root = await temporaryDirectory(t)
  const storage = await FilesystemStorage.open(root)
  for (let round = 0; round < 20; round++)
    await Promise.all([1, 2, 3].map(size => storage.put(`notes/${round % 3}`, Buffer.alloc(50 + size), 'soon')))
  t.match(await counted(storage), await truth(root))
  await storage.close()
})
