// The attacks of test/abuse, in a random mix: what one of them leaves behind would add up.
import { test } from 'tap'
import { shapes } from '../abuse/shapes.ts'
import { Random } from '../long/random.ts'
import { repeat, scale, seed } from '../long/scale.ts'
import { peakOf } from '../memory/load.ts'
import { besiege, besiegeOnce, honestClients, live } from './siege.ts'
import { type Besieged, openSiege } from './siege-place.ts'
import { Tally } from './tally.ts'
import { type Apart, descriptorsBack, descriptorsOf, type Held, look } from './watch.ts'

const mib = 1024 * 1024
// One attack may take 256 MiB, and there are two at a time.
const mostResident = 384 * mib
const seconds = Number(process.env['REGISTRY_TEST_SIEGE_SECONDS'] || 30)
const growth = scale.soak.growth.resident
// In half a minute the heap does not meet its limits: its growth says nothing yet.
const long = seconds >= 600
const lookSeconds = 3

/** What a registry holds when all attackers have left. */
async function atRest(place: Besieged, before: number, apart: Apart | undefined): Promise<Held> {
  await descriptorsBack(place.server.pid, before, apart)
  return await look(place.server.pid, lookSeconds, apart)
}

test(`a siege: after ${seconds} seconds of attacks in all modes nothing has ended and nothing stays (${repeat})`, async t => {
  const random = new Random(seed)
  const { places, upstreams } = await openSiege(t, random)
  const tally = new Tally()
  const apart = scale.soak.counted === 'all' ? undefined : upstreams
  const open = (place: Besieged) => descriptorsOf(place.server.pid, apart)
  const end = new AbortController()
  const exits = places.map(async ({ mode, server }) => {
    const code = await server.ended
    throw new Error(`${mode} ended with ${code}: ${server.log().slice(-4000)}`)
  })
  const outcomes = await Promise.race([Promise.all(places.map(place => endure(place))), Promise.race(exits).finally(() => end.abort())])
  for (const exit of exits) exit.catch(() => {})

  async function endure(place: Besieged) {
    const mine = new Random(random.between(0, 2 ** 31))
    const before = await open(place)
    const honest = live(place, new Random(random.between(0, 2 ** 31)), tally, end.signal)
    await besiegeOnce(place, mine, tally)
    await besiege(place, mine, tally, (seconds * 1000) / 6)
    const first = await atRest(place, before + honestClients, apart)
    await besiege(place, mine, tally, (seconds * 5000) / 6)
    const last = await atRest(place, before + honestClients, apart)
    end.signal.throwIfAborted()
    return { place, before, first, last, honest }
  }

  end.abort()
  await Promise.all(outcomes.map(({ honest }) => honest))
  t.comment(`${tally}`)
  t.same(tally.faults, [], 'every honest request was answered with what it asked for')
  for (const { place, before, first, last } of outcomes) {
    const { mode, server } = place
    const peak = await peakOf(server.pid)
    const residents = [first.resident, last.resident, peak].map(each => (each / mib).toFixed(1))
    t.comment(`${mode}: ${residents.join(', ')} MiB resident after a while, at the end and at most`)
    for (const shape of Object.keys(shapes)) t.ok(tally.count(`${mode} ${shape}`) > 0, `${mode}: there was an attack ${shape}`)
    t.ok(tally.count(`${mode} honest`) > 0, `${mode}: there were honest requests`)
    if (long) t.ok(last.resident <= first.resident * growth, `${mode}: resident memory grew at most to ${growth} of what it was`)
    t.ok(peak <= mostResident, `${mode}: at most ${mostResident / mib} MiB were resident`)
    const after = await descriptorsBack(server.pid, before, apart)
    t.ok(after <= before, `${mode}: ${after} descriptors are open when all have left, ${before} before`)
  }
  for (const { mode, server } of places) t.equal(await server.stop(), 0, `${mode}: the registry ends as it should`)
})
