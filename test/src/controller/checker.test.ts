// A check that stops short, or takes a failed look-up for a missing image, would lead a cluster to a registry without
// its images.
import { test } from 'tap'
import { Checker } from '../../../src/controller/checker/checker.ts'
import { CheckQueue, checkText } from '../../../src/controller/checker/queue.ts'
import { itemsOf, parseImageList, requiredImages } from '../../../src/controller/checker/required-images.ts'
import { openProbe } from '../../../src/controller/checker/upstream-probe.ts'
import { type CheckedRegistry, checkRequest } from '../../../src/controller/machine/check-request.ts'
import { behind, serveModes, storedFills } from '../../modes/scene.ts'
import { startUpstream } from '../../support/upstream.ts'

const items = (count: number) =>
  Array.from({ length: count }, (_, index) => ({ source: `module/m/image-${index}`, image: `r.example.org/d@sha256:${index}` }))

test('checker: a message as Deckhouse’s module writes it, with the first five errors', async t => {
  const queue = new CheckQueue('master-1', items(166))
  for (let count = 0; count < 8; count++) {
    const item = queue.take(0)
    if (item && count < 7) queue.fail(item, `no such image ${count}`)
    else queue.succeed()
  }
  const lines = checkText([queue], 'Default').split('\n')
  t.same(lines.slice(0, 4), [
    'master-1: 1 of 166 items processed, 7 items with errors:',
    '- source: module/m/image-0',
    '  image: r.example.org/d@sha256:0',
    '  error: no such image 0'
  ])
  t.equal(lines.length, 1 + 5 * 3 + 2)
  t.same(lines.slice(-2), ['', '  ...and more'])
  t.equal(queue.isFailing, true)
  t.equal(
    checkText([new CheckQueue('b', items(2)), new CheckQueue('a', [])], 'Relax'),
    'Mode: Relax\na: all 0 items are checked\nb: 0 of 2 items processed'
  )
  const both = checkText([queue, new CheckQueue('master-2', items(3))], 'Default')
  t.match(both, /and more\n\nmaster-2: 0 of 3 items processed$/)
})

test('checker: failed images are asked for again after 10 s, and then ever more rarely, up to 5 min', async t => {
  const queue = new CheckQueue('r', items(1))
  const pauses: number[] = []
  let now = 1_000_000
  for (let turn = 0; turn < 8; turn++) {
    const item = queue.take(now)
    if (!item) throw new Error('nothing to ask for')
    t.equal(queue.take(now), undefined, 'it is asked for once a turn')
    queue.fail(item, 'gone')
    queue.endTurn(now)
    const resumeAt = queue.resumeAt ?? 0
    pauses.push((resumeAt - now) / 1000)
    t.equal(queue.take(resumeAt - 1), undefined)
    t.match(queue.text(), 'error: gone', 'its error is shown while it waits')
    now = resumeAt
  }
  t.same(pauses, [10, 20, 40, 80, 160, 300, 300, 300])
})

test('checker: a queue whose images come one after another goes on asking every 10 s', async t => {
  const queue = new CheckQueue('r', items(3))
  let now = 1
  for (let left = 3; left > 0; left--) {
    for (let asked = 0; asked < left; asked++) {
      const item = queue.take(now)
      if (item && asked > 0) queue.fail(item, 'not yet')
      else queue.succeed()
    }
    queue.endTurn(now)
    if (left > 1) t.equal((queue.resumeAt ?? 0) - now, 10_000)
    now = queue.resumeAt ?? now
  }
  t.equal(queue.text(), 'r: all 3 items are checked\n')
})

test('required images: what is the platform’s, once each, and a list whose order does not matter', async t => {
  const images = [
    { source: 'deckhouse/containers/deckhouse', reference: 'registry.d8-system.svc:5001/system/deckhouse:v1.70.0' },
    { source: 'pod/a/b', reference: 'old.example.org/deckhouse/ee@sha256:aa' },
    { source: 'pod/a/c', reference: 'registry.d8-system.svc:5001/system/deckhouse@sha256:aa' },
    { source: 'pod/x/y', reference: 'docker.io/library/nginx:1' },
    { source: 'pod/x/z', reference: 'old.example.org/deckhouse/ee-other/thing:1' }
  ]
  const bases = ['registry.d8-system.svc:5001/system/deckhouse', 'old.example.org/deckhouse/ee']
  const found = requiredImages(images, bases, images[0])
  t.same(found.Default, [
    { source: 'deckhouse/containers/deckhouse', rest: ':v1.70.0' },
    { source: 'pod/a/b', rest: '@sha256:aa' }
  ])
  t.same(found.Relax, [{ source: 'deckhouse/containers/deckhouse', rest: ':v1.70.0' }])
  const [first, ...others] = images
  t.equal(requiredImages([...others.slice(0, 1), ...(first ? [first] : [])], bases, first).version, found.version)
  t.same(
    itemsOf(found.Default, 'new.example.org/ee').map(({ image }) => image),
    ['new.example.org/ee:v1.70.0', 'new.example.org/ee@sha256:aa']
  )
})

test('required images: a list with a line that is no image is no list', async t => {
  const at = { source: 'configmap/registry-required-images', base: 'r.example.org/d' }
  const digest = `sha256:${'a'.repeat(64)}`
  const text = `# the platform\n\n${digest}\n/install:v1 # with a comment\nr.example.org/d:v2\n`
  t.same(
    parseImageList(text, at).map(({ reference }) => reference),
    [`r.example.org/d@${digest}`, 'r.example.org/d/install:v1', 'r.example.org/d:v2']
  )
  t.throws(() => parseImageList('a\nb c\n', at), /line 2: "b c" is no image/)
})

test('checker: three requests at a time, and images that appear later are found', async t => {
  let now = 1_000_000
  const present = new Set<string>()
  let running = 0
  let most = 0
  let closed = 0
  const reports: string[] = []
  let notify = () => {}
  const checker = new Checker({
    now: () => now,
    changed: () => {
      reports.push(checker.status?.message ?? '')
      notify()
    },
    open: async () => ({
      find: async image => {
        most = Math.max(most, ++running)
        await new Promise(resolve => setImmediate(resolve))
        running--
        if (!present.has(image)) throw new Error(`${image} is\nnot there`)
      },
      [Symbol.asyncDispose]: async () => void closed++
    })
  })
  const images = {
    Default: Array.from({ length: 20 }, (_, index) => ({ source: `pod/${index}`, rest: `:v${index}` })),
    Relax: [],
    version: '1'
  }
  const registry: CheckedRegistry = { name: 'r.example.org', imagesRepo: 'r.example.org/d', scheme: 'https', username: '', password: '' }
  const request = checkRequest([registry], { checkMode: 'Default', images: '1', stored: false })
  const reported = new Promise<void>(resolve => {
    notify = resolve
  })
  checker.want(request, images)
  await reported
  t.match(checker.status, { ready: false, failing: true, version: request.version })
  t.match(
    checker.status?.message,
    /^r\.example\.org: 0 of 20 items processed, 20 items with errors:\n- source: pod\/0\n {2}image: r\.example\.org\/d:v0\n {2}error: r\.example\.org\/d:v0 is not there\n/
  )
  t.equal(most, 3)
  checker.want(request, images)
  t.equal(reports.length, 1, 'the same check goes on')
  for (const { rest } of images.Default) present.add(`r.example.org/d${rest}`)
  now += 3_600_000
  checker.want({ ...request, version: 'another' }, images)
  await new Promise<void>(resolve => {
    notify = () => checker.status?.ready && resolve()
  })
  t.match(checker.status, { ready: true, version: 'another', message: 'r.example.org: all 20 items are checked' })
  await checker.close()
  t.equal(closed, 2)
})

test('checker: a real registry is asked by HEAD; a missing image, wrong credentials and no registry are told apart', async t => {
  const upstream = await startUpstream(t, { auth: { scheme: 'Bearer', username: 'puller', password: 'secret' } })
  const { digest } = upstream.addImage('deckhouse/ee', 'v1')
  const { host } = new URL(upstream.url)
  const registry = { name: host, imagesRepo: `${host}/deckhouse/ee`, scheme: 'http' as const, username: 'puller', password: 'secret' }
  const open = (password: string) => {
    const probe = openProbe({ ...registry, password }, {})
    t.teardown(() => probe[Symbol.asyncDispose]())
    return probe
  }
  const { signal } = new AbortController()
  await open('secret').find(`${host}/deckhouse/ee@${digest}`, signal)
  t.ok(upstream.requests.every(({ method }) => method === 'HEAD'))
  await t.rejects(open('secret').find(`${host}/deckhouse/ee:v2`, signal), /404/)
  await t.rejects(open('wrong').find(`${host}/deckhouse/ee:v1`, signal), /401/)
  await upstream.stop()
  await t.rejects(open('secret').find(`${host}/deckhouse/ee:v1`, signal), /ECONNREFUSED/)
})

test('checker: replicas that cache are asked for what they have themselves, with all its blobs, and fetch nothing for it', async t => {
  const upstream = await startUpstream(t)
  const image = upstream.addImage('deckhouse/ee', 'v1')
  const served = await serveModes(t, { registry: behind('Proxy', upstream) })
  const proxy = { host: served.listen }
  const registry = { name: 'master-0', imagesRepo: `${proxy.host}/system/deckhouse`, scheme: 'http' as const, username: '', password: '' }
  const probe = openProbe(registry, { stored: true })
  t.teardown(() => probe[Symbol.asyncDispose]())
  const { signal } = new AbortController()
  const reference = `${proxy.host}/system/deckhouse@${image.digest}`
  await t.rejects(probe.find(reference, signal), /404/)
  t.equal(upstream.requests.length, 0)
  const get = async (path: string) => (await fetch(`http://${proxy.host}/v2/system/deckhouse/${path}`)).arrayBuffer()
  await get(`manifests/${image.digest}`)
  await get(`blobs/${image.config}`)
  await storedFills(served, 1)
  await t.rejects(probe.find(reference, signal), new RegExp(`blobs/${image.layer}.*404`))
  await get(`blobs/${image.layer}`)
  await storedFills(served, 2)
  await probe.find(reference, signal)
  const asked = upstream.requests.length
  await probe.find(reference, signal)
  t.equal(upstream.requests.length, asked)
})
