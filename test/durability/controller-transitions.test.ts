import { test } from 'tap'
import { FakeCluster, firstRepo } from '../src/controller/fake-cluster.ts'

const repo = (host: string) => ({ imagesRepo: `${host}/deckhouse/ee`, username: 'puller', password: 'secret' })

/** The settings of every target, and a second form of those that have parameters. */
const targets = {
  'Unmanaged (bare)': { mode: 'Unmanaged' },
  Unmanaged: { mode: 'Unmanaged', unmanaged: repo('a.example.org') },
  Direct: { mode: 'Direct', direct: repo('a.example.org') },
  Proxy: { mode: 'Proxy', proxy: repo('a.example.org') },
  Local: { mode: 'Local' }
}
const changed = {
  'Unmanaged (bare)': { mode: 'Unmanaged' },
  Unmanaged: { mode: 'Unmanaged', unmanaged: repo('b.example.org') },
  Direct: { mode: 'Direct', direct: { ...repo('b.example.org'), password: 'another' } },
  Proxy: { mode: 'Proxy', proxy: { ...repo('b.example.org'), ttl: '24h' } },
  Local: { mode: 'Local' }
}
type Target = keyof typeof targets
const all = Object.keys(targets) as Target[]
const refused = (from: Target, to: Target) => from === 'Local' && to === 'Unmanaged (bare)'

const reached = new Map<Target, FakeCluster>()

function clusterIn(from: Target): FakeCluster {
  const before = reached.get(from)
  if (before) return before.copy()
  const cluster = new FakeCluster(1, 1)
  cluster.want(targets[from])
  cluster.converge()
  reached.set(from, cluster)
  return cluster.copy()
}

for (const from of all) {
  for (const to of all) {
    test(`machine: ${from} → ${to}${from === to ? ' with other parameters' : ''}`, async t => {
      const cluster = clusterIn(from)
      cluster.grow(2, 2)
      cluster.want(changed[to])
      if (refused(from, to)) {
        cluster.settle()
        const condition = cluster.condition('ErrTransitionNotSupported')
        t.match(condition, { status: 'True', reason: 'Error', message: 'mode transition from Local to Unmanaged not supported' })
        t.equal(cluster.outcome.state.mode, 'Local')
        return
      }
      const broken = new Set<string>()
      cluster.converge(() => {
        for (const each of cluster.broken()) broken.add(each)
      })
      t.same([...broken], [], 'every pull works at every moment')
      t.match(cluster.outcome.state, { mode: changed[to].mode, target_mode: changed[to].mode })
      t.same(cluster.look(), [], 'and then there is nothing left to write')
      t.ok(cluster.conditions().every(({ status }) => status === 'True'))
    })
  }
}

// Of a switch: everything else that acts is quick, and the controller ends after each of its writes in turn.
for (const from of all) {
  for (const to of all) {
    if (refused(from, to)) continue
    test(`machine: ${from} → ${to}, with the controller killed after each of its writes`, async t => {
      let kills = 0
      const broken = new Set<string>()
      const watch = (cluster: FakeCluster) => {
        for (const each of cluster.broken()) broken.add(`killed after write ${kills + 1}: ${each}`)
      }
      for (let at = 1; killedAfter(clusterIn(from), at, changed[to], watch); at++) kills++
      t.same([...broken], [])
      t.ok(kills > 0 || from === to || to === 'Unmanaged (bare)', `${kills} kills`)
    })
  }
}

/** Whether the switch has so many writes; if so, the controller ends after that one, and its successor goes on. */
function killedAfter(cluster: FakeCluster, at: number, settings: object, watch: (cluster: FakeCluster) => void): boolean {
  cluster.want(settings)
  let written = 0
  for (let round = 0; written < at; round++) {
    const writes = cluster.look()
    if (round > 60 || (writes.length === 0 && cluster.isDone())) return false
    for (const { run } of writes.slice(0, at - written)) run()
    written += Math.min(writes.length, at - written)
    watch(cluster)
    if (written < at) cluster.act()
    watch(cluster)
  }
  // The next leader knows nothing of the checks of this one, and the others have gone on meanwhile.
  cluster.check = undefined
  cluster.act()
  cluster.converge(() => watch(cluster))
  return true
}

for (const from of all) {
  for (const to of all) {
    if (from === to) continue
    test(`machine: ${from} → ${to} and back again from every moment of the switch`, async t => {
      if (refused(from, to)) return void t.pass('refused')
      let undone = 0
      for (let rounds = 1; rounds < 30; rounds++) {
        const cluster = clusterIn(from)
        cluster.want(changed[to])
        for (let round = 0; round < rounds; round++) {
          cluster.settle()
          cluster.act()
          if (round === rounds - 1) continue
        }
        if (cluster.isDone()) break
        undone++
        cluster.want(targets[from])
        const broken = new Set<string>()
        cluster.converge(() => {
          for (const each of cluster.broken()) broken.add(each)
        })
        t.same([...broken], [], `after ${rounds} rounds`)
        t.equal(cluster.outcome.state.mode, targets[from].mode)
      }
      t.ok(undone > 0 || from.startsWith('Unmanaged'), `${undone} times`)
    })
  }
}

test('machine: a cluster that was never switched goes back to its first registry from every moment of the first switch', async t => {
  for (const to of ['Direct', 'Proxy', 'Local'] as const) {
    for (let rounds = 1; rounds < 12; rounds++) {
      const cluster = new FakeCluster()
      cluster.want(targets[to])
      for (let round = 0; round < rounds && !cluster.isDone(); round++) {
        cluster.settle()
        cluster.act()
      }
      if (cluster.isDone()) break
      cluster.want({ mode: 'Unmanaged' })
      cluster.converge(() => t.same(cluster.broken(), []))
      const { actual_params: actual } = cluster.outcome.state.bashible
      if (actual) t.match(actual, { unmanaged: { imagesRepo: firstRepo } }, `${to} after ${rounds} rounds`)
    }
  }
})
