// A node that was slow, a controller killed between two writes, a person who changes their mind: in no order of events
// may a pull lose its last source, and once the faults end every switch does.
import fc from 'fast-check'
import { test } from 'tap'
import { FakeCluster } from '../src/controller/fake-cluster.ts'

const upstreams = ['a.example.org/ee', 'b.example.org/ee']
const settings = [
  { mode: 'Unmanaged' },
  { mode: 'Local' },
  ...upstreams.flatMap(imagesRepo => [
    { mode: 'Direct', direct: { imagesRepo } },
    { mode: 'Proxy', proxy: { imagesRepo, username: 'u', password: 'p' } },
    { mode: 'Unmanaged', unmanaged: { imagesRepo } }
  ])
]

/** An event; `at` chooses among nodes, settings, or the write after which the controller ends. */
interface Event {
  type: keyof typeof events
  at: number
}

const events = {
  // The controller may end after any number of its writes.
  look: (cluster, at) =>
    cluster
      .look()
      .slice(0, at)
      .forEach(({ run }) => void run()),
  settle: cluster => cluster.settle(),
  round: cluster => {
    cluster.act()
    cluster.settle()
  },
  stick: (cluster, at) => {
    const node = cluster.nodes[at % cluster.nodes.length]
    if (node) node.stuck = !node.stuck
  },
  apply: (cluster, at) =>
    cluster.nodes
      .slice(at % cluster.nodes.length)
      .slice(0, 1)
      .forEach(node => void cluster.apply(node)),
  want: (cluster, at) => cluster.want(settings[at % settings.length] ?? {}),
  check: cluster => cluster.runCheck(),
  deployment: cluster => cluster.runDeployment(),
  deckhouse: cluster => cluster.runDeckhouse(),
  forgetChecks: cluster => {
    cluster.check = undefined
  },
  join: (cluster, at) => {
    if (cluster.nodes.length < 6) cluster.grow(at % 2, 1 - (at % 2))
  },
  converge: cluster => {
    if (!cluster.upstreamBroken) end(cluster)
  },
  // A cache has not all images, and need not keep what it has.
  evict: cluster => {
    const isCopy =
      cluster.nodes.some(({ replica }) => replica?.config.local_mode) ||
      [...cluster.secrets.keys()].some(
        name => name.startsWith('registry-node-config') && cluster.outcome.state.node_services?.mode === 'Local'
      )
    if (!isCopy && !cluster.outcome.check?.stored) cluster.complete = false
  },
  newImages: cluster => {
    cluster.requiredImages += '+'
  },
  upstream: cluster => {
    cluster.upstreamBroken = !cluster.upstreamBroken
  }
} satisfies Record<string, (cluster: FakeCluster, at: number) => void>

const weights = {
  ...{ look: 4, settle: 3, round: 10, apply: 4, want: 2, check: 1, deployment: 1, deckhouse: 1 },
  ...{ stick: 1, converge: 1, evict: 1, forgetChecks: 1, join: 1, newImages: 1, upstream: 1 }
}
const event: fc.Arbitrary<Event> = fc.oneof(
  ...(Object.keys(events) as (keyof typeof events)[]).map(type => ({
    weight: weights[type],
    arbitrary: fc.record({ type: fc.constant(type), at: fc.nat(9) })
  }))
)

function happen(cluster: FakeCluster, { type, at }: Event): void {
  cluster.now += 1000
  events[type](cluster, at)
}

function end(cluster: FakeCluster): void {
  cluster.upstreamBroken = false
  for (const node of cluster.nodes) node.stuck = false
  try {
    cluster.converge()
  } catch (error) {
    // From Local there is no way to a registry that was never named.
    if (cluster.condition('ErrTransitionNotSupported')?.status !== 'True') throw error
  }
}

test('model: whatever happens in whatever order, every pull has a source, and every switch ends', async t => {
  const runs = Number(process.env['REGISTRY_TEST_RUNS'] ?? 40)
  fc.assert(
    fc.property(fc.array(event, { minLength: 20, maxLength: 100 }), order => {
      const cluster = new FakeCluster(1, 1)
      cluster.settle()
      for (const each of order) {
        happen(cluster, each)
        const broken = cluster.broken()
        if (broken.length > 0) throw new Error(`after ${JSON.stringify(each)}: ${broken.join('; ')}`)
      }
      end(cluster)
      if (cluster.broken().length > 0) throw new Error(cluster.broken().join('; '))
    }),
    { numRuns: runs }
  )
  t.pass(`${runs} orders of events`)
})
