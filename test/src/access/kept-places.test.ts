import { test } from 'tap'
import { createKeptPlaces } from '../../../src/access/kept-places.ts'
import { until } from '../support.ts'

test('kept places: each owner has one, whose jobs run one at a time and after a pause', async t => {
  const rests: number[] = []
  const door = Promise.withResolvers<void>()
  let time = 0
  const places = createKeptPlaces(
    () => time,
    async ms => {
      rests.push(ms)
      await door.promise
    }
  )
  const started: string[] = []
  const job = (name: string) => async () => {
    started.push(name)
    time += 10
    return true
  }
  const first = places.run('ana', 'x', job('ana'))
  const second = places.run('bob', 'x', job('bob'))
  t.equal(places.run('bob', 'y', job('never')), undefined, 'the place is taken')
  t.equal(await first, true)
  t.strictSame(started, ['ana'])
  await until(() => rests.length === 1)
  t.strictSame(rests, [30])
  door.resolve()
  t.equal(await second, true)
  t.strictSame(started, ['ana', 'bob'])
})

test('kept places: a second check of the same password joins the first', async t => {
  const places = createKeptPlaces(
    () => 0,
    async () => {}
  )
  const door = Promise.withResolvers<boolean>()
  let jobs = 0
  const run = () =>
    places.run('ana', 'x', () => {
      jobs++
      return door.promise
    })
  const both = [run(), run()]
  door.resolve(false)
  t.strictSame(await Promise.all(both), [false, false])
  t.equal(jobs, 1)
})

test('kept places: a job that fails frees its place', async t => {
  const places = createKeptPlaces(
    () => 0,
    async () => {}
  )
  await t.rejects(async () => places.run('ana', 'x', () => Promise.reject(new Error('broken'))), /broken/)
  let result: Promise<boolean> | undefined
  await until(() => (result = places.run('ana', 'y', async () => true)))
  t.equal(await result, true)
})
