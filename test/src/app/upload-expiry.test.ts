import { test } from 'tap'
import { startUploadExpiry } from '../../../src/app/upload-expiry.ts'
import type { Logger } from '../../../src/telemetry/log.ts'
import { createTestClock } from '../../support/clock.ts'
import { bodyOf, named, neverAborted, openFor } from '../../support/content.ts'

const idleMs = 60_000

test('upload expiry: a session that received nothing for its time is cancelled, and no other', async t => {
  const { content } = await openFor(t)
  const name = named('a')
  const clock = createTestClock()
  const session = await content.uploads.start(name)
  await session.append({ body: bodyOf('bytes'), signal: neverAborted })
  const logged: object[] = []
  const log = { info: (fields: object) => logged.push(fields), error: (fields: object) => logged.push(fields) }
  const stop = startUploadExpiry(content, idleMs, log as unknown as Logger, clock)
  await clock.advance(idleMs / 4)
  // A run has ended when the next one waits.
  await clock.whenWaiting()
  t.equal(content.uploads.open, 1)
  while (logged.length === 0) {
    await clock.advance(idleMs / 4)
    await clock.whenWaiting()
  }
  t.strictSame(logged, [{ expired: 1, idle: idleMs }])
  t.equal(content.uploads.open, 0)
  await stop()
  t.equal(clock.waiting, 0)
})
