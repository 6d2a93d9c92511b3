import { Client, digestOf } from '../long/client.ts'
import { makeManifest, manifestType } from '../long/manifest.ts'
import type { Way } from '../long/push.ts'
import { expect, pushBlob } from '../long/push.ts'
import { Random } from '../long/random.ts'
import type { Acknowledged } from './promise.ts'

const top = 'docker/registry/v2'

/** Pushes what there is to push, one after another; resolves to what each 201 promised. */
export async function pushEverything(address: string, seed: number): Promise<Acknowledged[]> {
  const client = new Client(address, 1)
  try {
    return await push(client, new Random(seed))
  } finally {
    await client.close()
  }
}

async function push(client: Client, random: Random): Promise<Acknowledged[]> {
  const name = 'durable/one'
  const acknowledged: Acknowledged[] = []
  const blob = async (way: Way, size: number, algorithm: 'sha256' | 'sha512' = 'sha256') => {
    const bytes = random.bytes(size)
    await pushBlob(client, { name, bytes, way, algorithm, random })
    const digest = digestOf(bytes, algorithm)
    acknowledged.push({ what: `a ${way} blob of ${algorithm}`, keys: [dataKey(digest), linkKey(name, '_layers', digest)] })
    return { digest, size }
  }
  const manifest = async (what: string, path: string, bytes: Buffer, more: readonly string[]) => {
    expect(201, what, await client.ask('PUT', `/v2/${name}/manifests/${path}`, { headers: manifestType, body: bytes }))
    const digest = digestOf(bytes)
    acknowledged.push({ what, keys: [dataKey(digest), linkKey(name, '_manifests/revisions', digest), ...more] })
  }
  const config = await blob('monolithic', 300)
  const layer = await blob('chunked', 3_000_000)
  await blob('streamed', 700_000)
  await blob('single', 70_000)
  await blob('monolithic', 20_000, 'sha512')
  await blob('monolithic', 0)
  const image = makeManifest(config, [layer])
  await manifest('a manifest with a tag', 'v1', image, [tagKey(name, 'v1')])
  await manifest('a second tag', 'v2', image, [tagKey(name, 'v2')])
  const other = makeManifest(config, [layer], { note: 'other' })
  await manifest('a tag that is moved', 'v1', other, [tagKey(name, 'v1')])
  await manifest('two tags at once', `${digestOf(other)}?tag=a&tag=b`, other, [tagKey(name, 'a'), tagKey(name, 'b')])
  const subject = { digest: digestOf(image), size: image.length }
  const referrer = makeManifest(config, [], { subject })
  const listed = linkKey(name, `_referrers/${subject.digest.replace(':', '/')}`, digestOf(referrer))
  await manifest('a referrer', digestOf(referrer), referrer, [listed])
  expect(201, 'a mount', await client.ask('POST', `/v2/durable/two/blobs/uploads/?mount=${layer.digest}&from=${name}`))
  acknowledged.push({ what: 'a mount', keys: [dataKey(layer.digest), linkKey('durable/two', '_layers', layer.digest)] })
  return acknowledged
}

function dataKey(digest: string): string {
  const [algorithm = '', encoded = ''] = digest.split(':')
  return `${top}/blobs/${algorithm}/${encoded.slice(0, 2)}/${encoded}/data`
}

function linkKey(name: string, kind: string, digest: string): string {
  return `${top}/repositories/${name}/${kind}/${digest.replace(':', '/')}/link`
}

function tagKey(name: string, tag: string): string {
  return `${top}/repositories/${name}/_manifests/tags/${tag}/current/link`
}
