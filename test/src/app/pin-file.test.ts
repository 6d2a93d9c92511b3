import { rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { pino } from 'pino'
import { type Test, test } from 'tap'
import type { Config } from '../../../config/schema.ts'
import { createPinReader } from '../../../src/app/pin-file.ts'
import { named, tagged } from '../../support/content.ts'
import { folder } from '../support.ts'

const app = named('system/app')
const v1 = { tag: tagged('v1') }
const v2 = { tag: tagged('v2') }

function pinsOf(t: Test, pin: string[] = []) {
  const file = join(folder(t), 'pins')
  const settings = { cache: { pin, pinFile: file } as unknown as Config['cache'] }
  const lines: Record<string, unknown>[] = []
  const log = pino({ base: null }, { write: line => void lines.push(JSON.parse(line)) })
  return { file, settings, lines, read: createPinReader(() => settings.cache, log) }
}

test('pins: the file is read anew each time, beside what the configuration names', async t => {
  const { file, read, lines } = pinsOf(t, ['other/*'])
  await writeFile(file, 'system/app:v1\n')
  const before = await read()
  t.strictSame([before(app, v1), before(app, v2), before(named('other/one'))], [true, false, true])
  await writeFile(file, 'system/app:v2 # the next\n')
  const after = await read()
  t.strictSame([after(app, v1), after(app, v2)], [false, true])
  t.strictSame(lines, [])
})

test('pins: while the file is gone or cannot be read, what it named last stays pinned, and a warning says so', async t => {
  const { file, read, lines } = pinsOf(t)
  await writeFile(file, 'system/app:v1\n')
  await read()
  await rm(file)
  for (const _ of [1, 2]) {
    const pinned = await read()
    t.strictSame([pinned(app, v1), pinned(app, v2)], [true, false])
  }
  t.match(lines, [{ level: 40, file, msg: /the pin file cannot be read/ }, { level: 40 }])
  await writeFile(file, '')
  t.equal((await read())(app, v1), false, 'an empty file pins nothing')
})

test('pins: a file that could never be read pins everything', async t => {
  const { file, settings, read, lines } = pinsOf(t)
  const pinned = await read()
  t.ok(pinned(app) && pinned(app, v1))
  t.equal(lines.length, 1)
  await writeFile(file, 'system/app:v1\n')
  await read()
  settings.cache = { ...settings.cache, pinFile: `${file}.other` }
  t.ok((await read())(app, v2), 'another file is not the last one')
})
