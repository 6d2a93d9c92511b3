import { setTimeout as sleep } from 'node:timers/promises'
import { test } from 'tap'
import { Random } from '../long/random.ts'
import { repeat, scale, seed } from '../long/scale.ts'
import { churn } from './churn.ts'
import { goThroughModes, modes, openPlace } from './place.ts'
import { descriptorsBack, descriptorsOf, look } from './watch.ts'

const { seconds, first, look: long, mode, growth, counted } = scale.soak
const mib = 1024 * 1024

test(`a soak: after ${seconds} seconds of churn the registry holds no more than after ${first} (${repeat})`, async t => {
  const place = await openPlace(t, new Random(seed), `${3 * mode}s`)
  const { server, tally } = place
  const apart = counted === 'all' ? undefined : Number(place.upstream.address.split(':')[1])
  const before = await descriptorsOf(server.pid, apart)
  const end = new AbortController()
  const running = [churn(place, end.signal), goThroughModes(place, mode, end.signal)]
  const looks = async () => {
    await sleep((first - long / 2) * 1000)
    const early = await look(server.pid, long, apart)
    await sleep((seconds - first - 1.5 * long) * 1000)
    return { early, late: await look(server.pid, long, apart) }
  }
  const { early, late } = await Promise.race([looks(), Promise.all(running).then(() => Promise.reject(new Error('the churn ended')))])
  end.abort()
  await Promise.all(running)

  t.comment(`${tally}`)
  for (const [when, held] of Object.entries({ early, late }))
    t.comment(`${when}: ${(held.resident / mib).toFixed(1)} MiB resident, ${held.descriptors} descriptors`)
  t.same(tally.faults, [], 'every answer was right, and every pull that came to its end had the bytes of its digest')
  for (const each of modes) t.ok(tally.count(`pulls in ${each}`) > 0, `there were pulls in ${each}`)
  for (const each of ['pushes in Local', 'pushes refused', 'pulls left', 'pushes left', 'sessions cancelled', 'manifests'])
    t.ok(tally.count(each) > 0, `there were ${each}`)
  // Less is no fault: memory that was needed once may be given back.
  t.ok(late.resident <= early.resident * growth.resident, `resident memory grew at most to ${growth.resident} of what it was`)
  t.ok(late.descriptors <= early.descriptors * growth.descriptors, `descriptors grew at most to ${growth.descriptors} of what they were`)
  const after = await descriptorsBack(server.pid, before, apart)
  t.comment(`descriptors: ${before} before, ${after} when all had left`)
  t.ok(after <= before, 'when all have left, no more descriptors are open than before')
  t.equal(await server.stop(), 0, 'the registry ends as it should')
})
