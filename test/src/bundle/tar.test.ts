// Attack: an archive that makes its reader write outside, follow a link, count wrongly, read for ever or keep
// everything in memory; and the archive of a broken disk, which ends where it should not.
import { execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { type Test, test } from 'tap'
import { pack } from 'tar-stream'
import { type PositionedBytes, type TarEntry, tarEntries } from '../../../src/bundle/tar/entries.ts'
import { blockBytes, readHeader, TarFault, writeHeader } from '../../../src/bundle/tar/header.ts'
import type { EntryHeader } from '../../support/bundle.ts'
import { folder } from '../support.ts'
import { never } from '../upstream/ask.ts'

const bytesOf = (buffer: Buffer, reads: number[] = []): PositionedBytes => ({
  size: buffer.length,
  read: async (into, position) => {
    reads.push(position)
    return buffer.copy(into, 0, position, position + into.length)
  }
})

async function read(buffer: Buffer, maxEntries = 1000): Promise<{ entries: TarEntry[]; fault?: TarFault }> {
  const entries: TarEntry[] = []
  try {
    for await (const each of tarEntries(bytesOf(buffer), { maxEntries, signal: never() })) entries.push(each)
  } catch (error) {
    if (error instanceof TarFault) return { entries, fault: error }
    throw error
  }
  return { entries }
}

async function packed(...entries: (EntryHeader & { bytes?: Buffer })[]): Promise<Buffer> {
  const tar = pack()
  for (const { bytes = Buffer.alloc(0), ...header } of entries) tar.entry(header, bytes)
  tar.finalize()
  return buffer(Readable.from(tar))
}

const long = `modules/${'a'.repeat(60)}/extra/${'b'.repeat(60)}/blobs/sha256/${'0'.repeat(64)}`

function systemTar(t: Test, format: string): { archive: Buffer; content: Buffer } {
  const place = folder(t)
  const content = randomBytes(5000)
  mkdirSync(join(place, long, '..'), { recursive: true })
  writeFileSync(join(place, long), content)
  writeFileSync(join(place, 'index.json'), '{}')
  execFileSync('tar', [`--format=${format}`, '-cf', join(place, 'made.tar'), '-C', place, 'modules', 'index.json'])
  return { archive: readFileSync(join(place, 'made.tar')), content }
}

for (const format of ['gnu', 'pax', 'oldgnu']) {
  test(`tar: files of GNU tar's format ${format} are found with their whole names, and directories are passed over`, async t => {
    const { archive, content } = systemTar(t, format)
    const { entries, fault } = await read(archive)
    t.equal(fault, undefined)
    t.same(
      entries.map(each => each.name),
      [long, 'index.json']
    )
    const [first] = entries
    t.ok(first && archive.subarray(first.offset, first.offset + first.size).equals(content))
  })
}

test('tar: what is written is what GNU tar lists, with long names and sizes past 8 GiB', async t => {
  const place = folder(t)
  const content = Buffer.from('content')
  const parts = [long, 'index.json'].flatMap(name => [
    writeHeader(name, content.length),
    content,
    Buffer.alloc(blockBytes - content.length)
  ])
  writeFileSync(join(place, 'made.tar'), Buffer.concat([...parts, Buffer.alloc(2 * blockBytes)]))
  const listed = execFileSync('tar', ['-tvf', join(place, 'made.tar')], { encoding: 'utf8' })
    .trim()
    .split('\n')
  t.equal(listed.length, 2)
  t.match(listed[0], new RegExp(`^-rwxrwxrwx .* 7 1970-01-01 .*${long}$`))
  const size = 9 * 1024 ** 3
  t.match(readHeader(writeHeader('large', size), 0), { kind: 'file', name: 'large', size })
})

const refused: [what: string, header: EntryHeader, reason: RegExp][] = [
  ['a name with ..', { name: 'a/../../etc/passwd' }, /leads out of the bundle/],
  ['a name with .. behind a backslash', { name: 'a\\..\\..\\etc' }, /leads out of the bundle/],
  ['an absolute name', { name: '/etc/passwd' }, /absolute/],
  ['a name with a control character', { name: 'a\u001b[2J' }, /control characters/],
  ['a symbolic link', { name: 'blobs/x', type: 'symlink', linkname: '/etc/passwd' }, /a symbolic link/],
  ['a hard link', { name: 'blobs/x', type: 'link', linkname: 'y' }, /a hard link/],
  ['a device', { name: 'blobs/x', type: 'character-device', devmajor: 1, devminor: 3 }, /a character device/],
  ['a block device', { name: 'blobs/x', type: 'block-device', devmajor: 1, devminor: 3 }, /a block device/],
  ['a FIFO', { name: 'blobs/x', type: 'fifo' }, /a FIFO/]
]
for (const [what, header, reason] of refused) {
  test(`tar: ${what} is refused with its offset, and nothing after it is read`, async t => {
    const { entries, fault } = await read(await packed({ name: 'first' }, header, { name: 'last' }))
    t.match(fault, { kind: 'refused', message: reason, entry: header.name })
    t.equal(entries.length, 1)
    t.ok((fault?.offset ?? 0) >= blockBytes)
  })
}

function withFlag(flag: string, size: string): Buffer {
  const block = writeHeader('blobs/x', 0)
  block.write(flag, 156, 'latin1')
  block.write(size, 124, 'latin1')
  block.fill(0x20, 148, 156)
  const sum = block.reduce((all, byte) => all + byte, 0)
  block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1')
  return block
}

test('tar: sparse files, unknown types and impossible sizes are refused', async t => {
  const end = Buffer.alloc(2 * blockBytes)
  const whole = async (block: Buffer) => (await read(Buffer.concat([block, end]))).fault
  t.match(await whole(withFlag('S', '40000000000\0')), { kind: 'refused', message: /a sparse file/ })
  t.match(await whole(withFlag('M', '00000000000\0')), { kind: 'refused', message: /of type "M"/ })
  t.match(await whole(withFlag('0', '\u00ff\u00ff\u00ff\u00ff\u00ff\u00ff\u00ff\u00ff\u00ff\u00ff\u00ff\u00ff')), {
    kind: 'refused',
    message: /no number/
  })
  t.match(await whole(withFlag('0', '\u0080\u0000\u0000\u0000\u00ff\u00ff\u00ff\u00ff\u00ff\u00ff\u00ff\u00ff')), {
    kind: 'refused',
    message: /no number/
  })
  t.match(await whole(withFlag('0', 'notanumber\0')), { kind: 'refused', message: /no number/ })
  t.match(await whole(withFlag('L', '77777777777\0')), { kind: 'refused', message: /are allowed/ })
  t.match(await whole(withFlag('x', '77777777777\0')), { kind: 'refused', message: /are allowed/ })
  const sparse = await packed({ name: 'a', pax: { 'GNU.sparse.major': '1' } })
  t.match((await read(sparse)).fault, { kind: 'refused', message: /sparse/ })
})

test('tar: cut inside an entry, between entries, inside a header, or after one zero block, it is told where', async t => {
  const whole = await packed({ name: 'one', bytes: randomBytes(2000) }, { name: 'two', bytes: randomBytes(2000) })
  const entryBytes = blockBytes + 2048
  t.equal((await read(whole)).fault, undefined)
  t.match(await read(whole.subarray(0, entryBytes + 1000)), {
    entries: [{ name: 'one' }],
    fault: { kind: 'cut', message: /ends within the entry/, entry: 'two', offset: entryBytes + 1000 }
  })
  t.match(await read(whole.subarray(0, entryBytes)), {
    entries: [{ name: 'one' }],
    fault: { kind: 'cut', message: /cut between two entries/, offset: entryBytes }
  })
  t.match(await read(whole.subarray(0, 2 * entryBytes)), { entries: [{ name: 'one' }, { name: 'two' }], fault: { kind: 'cut' } })
  t.match(await read(whole.subarray(0, entryBytes + 100)), { fault: { kind: 'cut', message: /within a header/ } })
  t.match(await read(whole.subarray(0, 2 * entryBytes + blockBytes)), { fault: { kind: 'cut' } })
  t.match(await read(Buffer.alloc(0)), { entries: [], fault: { kind: 'cut' } })
})

test('tar: bytes that are no header, and bytes after the end, are told of', async t => {
  const one = await packed({ name: 'one', bytes: randomBytes(2000) })
  t.match(await read(Buffer.concat([one, one])), { entries: [{ name: 'one' }], fault: { kind: 'cut', message: /follow the end/ } })
  t.match(await read(Buffer.concat([one.subarray(0, blockBytes), randomBytes(4096)])), { fault: { kind: 'cut', message: /no tar header/ } })
  t.match(await read(Buffer.concat([one, Buffer.alloc(2 * 1024 * 1024)])), { fault: { kind: 'cut', message: /bytes follow the end/ } })
  t.equal((await read(Buffer.concat([one, Buffer.alloc(20 * blockBytes)]))).fault, undefined, 'padding as of GNU tar')
})

test('tar: an archive of ten million entries is refused after as many as are allowed, and a few reads', async t => {
  const block = writeHeader('blobs/sha256/00', 0)
  const reads: number[] = []
  const endless: PositionedBytes = {
    size: 10_000_000 * blockBytes,
    read: async (into, position) => {
      reads.push(position)
      for (let at = 0; at < into.length; at += blockBytes) block.copy(into, at)
      return into.length
    }
  }
  let entries = 0
  const count = async () => {
    for await (const _ of tarEntries(endless, { maxEntries: 5000, signal: never() })) entries++
  }
  await t.rejects(count(), { name: 'TarFault', kind: 'refused', message: /more than 5000 entries/ })
  t.equal(entries, 5000)
  t.ok(reads.length < 200, `${reads.length} reads`)
})
