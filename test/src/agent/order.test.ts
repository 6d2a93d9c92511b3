import { randomBytes } from 'node:crypto'
import { test } from 'tap'
import { HeadTimes } from '../../../src/agent/head-times.ts'
import { contentKey, ReplicaOrder } from '../../../src/agent/replica-order.ts'
import type { EndpointState } from '../../../src/upstream/upstream.ts'

const hosts = ['10.0.0.1:5001', '10.0.0.2:5001', '10.0.0.3:5001']
const states = (more: Readonly<Record<number, Partial<EndpointState>>> = {}): EndpointState[] =>
  hosts.map((host, at) => ({ url: new URL(`http://${host}`), healthy: true, running: 0, ...more[at] }))
const blob = () => `/v2/system/deckhouse/app/blobs/sha256:${randomBytes(32).toString('hex')}`
const orderOf = (...local: string[]) => {
  const order = new ReplicaOrder(local)
  return (replicas: readonly EndpointState[], path?: string) => order.of(replicas, path)
}

test('the same content is asked of the same replica, in whatever order they are listed and by whatever name', async t => {
  const order = orderOf()
  for (let round = 0; round < 50; round++) {
    const path = blob()
    const hostsOf = (replicas: EndpointState[], asked: string) => order(replicas, asked).map(each => each.host)
    t.same(hostsOf(states(), path), hostsOf(states().reverse(), path))
    t.same(hostsOf(states(), path), hostsOf(states(), `${path.replace('app', 'other')}?ns=a`))
  }
})

test('content is spread evenly, and a replica that goes takes only its own part with it', async t => {
  const order = orderOf()
  const firsts = new Map<string, number>()
  const moved: boolean[] = []
  for (let round = 0; round < 3_000; round++) {
    const path = blob()
    const [first] = order(states(), path)
    firsts.set(first?.host ?? '', (firsts.get(first?.host ?? '') ?? 0) + 1)
    const [without] = order(states({ 2: { healthy: false } }), path)
    if (first?.host !== hosts[2]) moved.push(first?.host !== without?.host)
  }
  for (const host of hosts) t.ok((firsts.get(host) ?? 0) > 850, `${host}: ${firsts.get(host)} of 3000`)
  t.notOk(moved.includes(true))
})

test('a local replica is first, an unhealthy one last even if it is local', async t => {
  const order = orderOf('http://10.0.0.2:5001')
  for (let round = 0; round < 20; round++) {
    t.equal(order(states(), blob())[0]?.host, hosts[1])
    t.equal(order(states({ 1: { healthy: false } }), blob()).at(-1)?.host, hosts[1])
  }
  t.same(
    orderOf()(states()).map(each => each.host),
    hosts,
    'without content: as listed'
  )
})

test('a replica that is busy comes after one that is not, and before one that is unhealthy', async t => {
  const order = orderOf()
  const path = blob()
  const usual = order(states(), path).map(each => each.host)
  const at = hosts.indexOf(usual[0] ?? '')
  const busy = states({ [at]: { running: 40 }, [hosts.indexOf(usual[2] ?? '')]: { healthy: false } })
  t.same(
    order(busy, path).map(each => each.host),
    [usual[1], usual[0], usual[2]]
  )
  t.same(
    order(states({ [at]: { running: 7 } }), path).map(each => each.host),
    usual,
    'a few requests are not much'
  )
})

test('a replica that gave wrong bytes for content comes after the others for it, and for nothing else', async t => {
  const order = new ReplicaOrder(['http://10.0.0.2:5001'])
  const path = blob()
  order.distrust([new URL('http://10.0.0.2:5001')], path)
  t.equal(order.of(states(), path).at(-1)?.host, hosts[1])
  t.equal(order.of(states({ 0: { healthy: false } }), path).at(-1)?.host, hosts[0], 'but before one that is unhealthy')
  t.equal(order.of(states(), blob())[0]?.host, hosts[1])
})

test('what identifies content is its digest, else its path', async t => {
  t.equal(contentKey('/v2/a/blobs/sha256:00?ns=x'), 'sha256:00')
  t.equal(contentKey('/v2/a/manifests/v1?ns=x'), '/v2/a/manifests/v1')
  for (const list of ['/v2/_catalog', '/v2/a/tags/list?n=1', '/v2/a/referrers/sha256:00']) t.equal(contentKey(list), undefined, list)
})

test('a head is hedged after twice the 90th percentile, within bounds', async t => {
  const of = (...ms: number[]) => {
    const times = new HeadTimes()
    for (const each of ms) times.add(each)
    return times.hedgeAfterMs
  }
  t.equal(of(), 500)
  t.equal(of(...new Array(64).fill(3)), 100)
  t.equal(of(...new Array(64).fill(120)), 240)
  t.equal(of(...new Array(64).fill(5_000)), 1_000)
  t.equal(of(...new Array(100).fill(5_000), ...new Array(256).fill(150)), 300, 'what is long past is forgotten')
})
