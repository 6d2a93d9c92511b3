import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Test } from 'tap'
import { test } from 'tap'
import { must } from './command.ts'
import { temporaryFolder } from './place.ts'
import { freshRegistry, target } from './registry.ts'
import { ask } from './request.ts'
import { hasTools } from './tool.ts'

interface Pushed {
  digest: string
}

async function prepare(t: Test) {
  const folder = await temporaryFolder(t)
  const registry = await freshRegistry(t)
  await writeFile(join(folder, 'table.csv'), 'a,b\n1,2\n')
  await writeFile(join(folder, 'signature.txt'), 'signed\n')
  const oras = (command: string, ...args: readonly string[]) =>
    must('oras', [command, '--plain-http', ...args], { cwd: folder, env: { DOCKER_CONFIG: folder } })
  const pushed = await oras('push', '--format', 'json', '--artifact-type', 'text/table', `${registry.address}/lab/artifact:v1`, 'table.csv')
  const artifact: Pushed = JSON.parse(pushed)
  return { folder, registry, oras, artifact, reference: `${registry.address}/lab/artifact:v1` }
}

test('oras: an artifact comes back by tag and by digest with every byte', async t => {
  if (!hasTools(t, 'oras')) return
  const { folder, registry, oras, artifact, reference } = await prepare(t)
  await oras('pull', '-o', 'by-tag', reference)
  await oras('pull', '-o', 'by-digest', `${registry.address}/lab/artifact@${artifact.digest}`)
  for (const into of ['by-tag', 'by-digest']) t.equal(await readFile(join(folder, into, 'table.csv'), 'utf8'), 'a,b\n1,2\n', into)
})

test('oras: what is attached to an artifact is discovered, with its type and annotations', async t => {
  if (!hasTools(t, 'oras')) return
  const { oras, reference } = await prepare(t)
  const attach = ['attach', '--format', 'json', '--artifact-type', 'text/signature', '--annotation', 'by=somebody', reference] as const
  const signature: Pushed = JSON.parse(await oras(...attach, 'signature.txt'))
  const other: Pushed = JSON.parse(await oras('attach', '--format', 'json', '--artifact-type', 'text/other', reference, 'table.csv'))
  const all: { referrers: Pushed[] } = JSON.parse(await oras('discover', '--format', 'json', reference))
  t.same(all.referrers.map(({ digest }) => digest).sort(), [signature.digest, other.digest].sort())
  const some: unknown = JSON.parse(await oras('discover', '--format', 'json', '--artifact-type', 'text/signature', reference))
  t.match(some, { referrers: [{ digest: signature.digest, artifactType: 'text/signature', annotations: { by: 'somebody' } }] })
  t.notMatch(some, { referrers: { length: 2 } })
})

test('oras: attaching uses the referrers API and leaves no fallback tag', async t => {
  if (!hasTools(t, 'oras')) return
  if (target !== 'product') return void t.pass('referrers API', { skip: 'docker-registry 2.8 has none' })
  const { registry, oras, artifact, reference } = await prepare(t)
  await oras('attach', '--artifact-type', 'text/signature', reference, 'signature.txt')
  const tags: unknown = JSON.parse((await ask(registry, { path: '/v2/lab/artifact/tags/list' })).body.toString())
  t.same(tags, { name: 'lab/artifact', tags: ['v1'] })
  const referrers = await ask(registry, { path: `/v2/lab/artifact/referrers/${artifact.digest}` })
  t.equal(referrers.status, 200)
  t.match(JSON.parse(referrers.body.toString()), { manifests: [{ artifactType: 'text/signature' }] })
})
