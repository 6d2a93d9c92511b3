import { createHash } from 'node:crypto'
import { mkdirSync, writeFileSync } from 'node:fs'
import { utimes } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'tap'
import { repeat, scale } from '../long/scale.ts'
import { temporaryDirectory } from '../support/place.ts'
import { measureCollection } from './collecting.ts'

const mib = 1024 * 1024
const perManifest = 10
const manifestsEach = 1_000
const tree = 'docker/registry/v2'

const digestOf = (text: string) => createHash('sha256').update(text).digest('hex')

function put(root: string, path: string, text: string): string {
  mkdirSync(join(root, path, '..'), { recursive: true })
  writeFileSync(join(root, path), text)
  return join(root, path)
}

/** Writes a tree of so many blobs, of which manifests need nine in ten; resolves to how many nothing needs. */
async function makeTree(root: string, blobs: number): Promise<number> {
  const old = new Date(Date.now() - 48 * 3_600_000)
  const store = async (text: string) => {
    const digest = digestOf(text)
    await utimes(put(root, `${tree}/blobs/sha256/${digest.slice(0, 2)}/${digest}/data`, text), old, old)
    return { digest: `sha256:${digest}`, size: text.length, mediaType: 'application/octet-stream' }
  }
  let loose = 0
  for (let manifest = 0; manifest * perManifest < blobs; manifest++) {
    const name = `${tree}/repositories/name${Math.floor(manifest / manifestsEach)}`
    const layers = []
    for (let at = 1; at < perManifest; at++) layers.push(await store(`${manifest} ${at}`))
    const [config, ...rest] = layers
    // The last blob of each ten is the manifest itself, or in every tenth case one that nothing needs.
    const unneeded = manifest % 10 === 0 ? layers.length : 0
    loose += unneeded
    const text = JSON.stringify({ schemaVersion: 2, config: config, layers: rest })
    if (!unneeded) put(root, `${name}/_manifests/revisions/sha256/${(await store(text)).digest.slice(7)}/link`, `sha256:${digestOf(text)}`)
    for (const { digest } of layers) put(root, `${name}/_layers/sha256/${digest.slice(7)}/link`, digest)
  }
  return loose
}

test(`collecting a store of ${scale.largeStore} blobs takes less than 15 minutes and 200 MiB (${repeat})`, { timeout: 0 }, async t => {
  const root = await temporaryDirectory(t)
  const loose = await makeTree(root, scale.largeStore)
  const { ms, rss, removed } = await measureCollection(root)
  t.comment(`${scale.largeStore} blobs, ${loose} of them needed by nothing: ${Math.round(ms / 1000)} s, ${Math.round(rss / mib)} MiB`)
  t.equal(removed, loose)
  t.ok(rss < 200 * mib, `${Math.round(rss / mib)} MiB`)
})
