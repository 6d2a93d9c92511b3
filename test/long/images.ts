import { type Client, digestOf } from './client.ts'
import { makeManifest, manifestType } from './manifest.ts'
import { expect, pushBlob } from './push.ts'
import type { Random } from './random.ts'

/** An image as its clients know it. */
export interface Image {
  tag: string
  /** Digests of its config and layers. */
  parts: string[]
}

const partSize = 10_000

/** Pushes an image of a config and two layers under a tag of its own. */
export async function pushImage(client: Client, name: string, random: Random): Promise<Image> {
  const parts: { digest: string; size: number }[] = []
  for (let at = 0; at < 3; at++) {
    const bytes = random.bytes(partSize)
    await pushBlob(client, { name, bytes, way: 'monolithic', random })
    parts.push({ digest: digestOf(bytes), size: bytes.length })
    // As clients do that push what they may have pushed before.
    for (const { digest } of parts) expect(200, 'a HEAD', await client.ask('HEAD', `/v2/${name}/blobs/${digest}`))
  }
  const [config, ...layers] = parts
  if (!config) throw new Error('no config')
  const tag = `t${Math.floor(random.next() * 1e9)}`
  const body = makeManifest(config, layers, { note: tag })
  expect(201, 'a manifest', await client.ask('PUT', `/v2/${name}/manifests/${tag}`, { headers: manifestType, body }))
  return { tag, parts: parts.map(each => each.digest) }
}

/** Pulls all of an image; throws if anything of it is missing or wrong. */
export async function pullImage(client: Client, name: string, { tag, parts }: Image): Promise<void> {
  expect(200, 'a manifest', await client.ask('GET', `/v2/${name}/manifests/${tag}`))
  for (const digest of parts) {
    const { body } = expect(200, 'a blob', await client.ask('GET', `/v2/${name}/blobs/${digest}`))
    if (digestOf(body) !== digest) throw new Error(`${digest} came as ${digestOf(body)}`)
  }
}
