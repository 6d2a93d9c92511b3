import { type Client, digestOf, type Reply, UnexpectedReply } from '../long/client.ts'
import { makeManifest, manifestType } from '../long/manifest.ts'
import { expect } from '../long/push.ts'
import type { Random } from '../long/random.ts'

const names = ['one', 'two']
// So many that a blob is not needed for about as long as a grace before it is needed again.
const payloads = 150
const images = 120
// Of those who change them, each.
const atOnce = 2
const attempts = 10
const filledAtOnce = 8
const octets = { 'content-type': 'application/octet-stream' }

/** An image that comes and goes, of bytes that others need as well. */
interface Image {
  name: string
  tag: string
  blobs: Buffer[]
  manifest: Buffer
  /** Whether it was acknowledged, and its deletion not asked for since. */
  there: boolean
  /** Counts deletions, so that a pull notices one that came meanwhile. */
  deletions: number
}

/** Images over several registries that share a storage: each request goes to any of them. */
export class Shop {
  /** What should not have happened. */
  readonly failures: string[] = []
  /**
   * `reused`: blobs that were not sent, since they were there. `again`: pushes that began anew, because content was
   * removed meanwhile.
   */
  readonly done = { pushes: 0, deletions: 0, reused: 0, again: 0, pulls: 0 }
  readonly #clients: readonly Client[]
  readonly #random: Random
  readonly #payloads: readonly Buffer[]
  readonly #images: readonly Image[]

  constructor(clients: readonly Client[], random: Random) {
    this.#clients = clients
    this.#random = random
    this.#payloads = Array.from({ length: payloads }, () => random.bytes(random.between(1, 3_000)))
    this.#images = Array.from({ length: images }, (_, at) => makeImage(at, this.#payloads, random))
  }

  /** Pushes the bytes of all of them, which nothing needs yet. */
  async fill(): Promise<void> {
    for (let at = 0; at < payloads; at += filledAtOnce)
      await Promise.all(this.#payloads.slice(at, at + filledAtOnce).map((bytes, index) => this.#send(names[index % 2] ?? '', bytes)))
  }

  /** Pushes or deletes an image of the `at`th of `count` who do so. */
  change(at: number, count: number): Promise<void> {
    const own = this.#images.filter((_, index) => index % count === at)
    const there = own.filter(each => each.there)
    const leaving = there.length >= atOnce && this.#chance(0.7) ? this.#random.pick(there) : undefined
    const image = leaving ?? this.#random.pick(own)
    if (!image) return Promise.resolve()
    return this.#noting(image, leaving ? this.#delete(image) : this.#push(image))
  }

  /** Pulls one of the images that are there. */
  async pull(): Promise<void> {
    const image = this.#random.pick(this.#images.filter(each => each.there))
    if (image) await this.#pullFrom(this.#any(), image)
  }

  /** Pulls all that are there from each registry. */
  async pullAll(): Promise<void> {
    for (const client of this.#clients) for (const image of this.#images) if (image.there) await this.#pullFrom(client, image)
  }

  async #pullFrom(client: Client, image: Image): Promise<void> {
    const { deletions } = image
    try {
      await pullImage(client, image)
      this.done.pulls++
    } catch (error) {
      if (image.deletions === deletions) this.failures.push(`a pull of ${image.name}:${image.tag}: ${(error as Error).message}`)
    }
  }

  async #noting(image: Image, change: Promise<void>): Promise<void> {
    await change.catch((error: Error) => this.failures.push(`${image.name}:${image.tag}: ${error.message}`))
  }

  #any(): Client {
    const client = this.#random.pick(this.#clients)
    if (!client) throw new Error('no registry')
    return client
  }

  #chance(part: number): boolean {
    return this.#random.next() < part
  }

  // What was there a moment ago may have gone before the manifest says that it is needed: then the push begins anew, as
  // clients do.
  async #push(image: Image): Promise<void> {
    const { name, tag, manifest: body } = image
    const put = async () => {
      for (const bytes of image.blobs) await this.#bring(name, bytes)
      return this.#any().ask('PUT', `/v2/${name}/manifests/${tag}`, { headers: manifestType, body })
    }
    await this.#until(201, put, [404, 503])
    image.there = true
    this.done.pushes++
  }

  async #until(status: number, ask: () => Promise<Reply>, passing: readonly number[]): Promise<void> {
    for (let attempt = 1; ; attempt++) {
      const reply = await ask()
      if (reply.status === status) return
      if (attempt === attempts || !passing.includes(reply.status)) throw new UnexpectedReply('a push', reply)
      this.done.again++
    }
  }

  async #bring(name: string, bytes: Buffer): Promise<void> {
    const digest = digestOf(bytes)
    const from = this.#chance(0.5) ? '' : `&from=${names.find(each => each !== name)}`
    const [method, path, status] = this.#chance(0.7)
      ? (['HEAD', `/v2/${name}/blobs/${digest}`, 200] as const)
      : (['POST', `/v2/${name}/blobs/uploads/?mount=${digest}${from}`, 201] as const)
    if ((await this.#any().ask(method, path)).status === status) this.done.reused++
    else await this.#send(name, bytes)
  }

  async #send(name: string, body: Buffer): Promise<void> {
    const path = `/v2/${name}/blobs/uploads/?digest=${digestOf(body)}`
    await this.#until(201, () => this.#any().ask('POST', path, { headers: octets, body }), [503])
  }

  async #delete(image: Image): Promise<void> {
    image.there = false
    image.deletions++
    const reference = this.#chance(0.5) ? image.tag : digestOf(image.manifest)
    expect(202, 'a DELETE', await this.#any().ask('DELETE', `/v2/${image.name}/manifests/${reference}`))
    this.done.deletions++
  }
}

function makeImage(at: number, all: readonly Buffer[], random: Random): Image {
  const blobs = Array.from({ length: 3 }, () => random.pick(all) ?? Buffer.alloc(1))
  const [config = { digest: '', size: 0 }, ...layers] = blobs.map(each => ({ digest: digestOf(each), size: each.length }))
  const manifest = makeManifest(config, layers, { note: String(at) })
  return { name: random.pick(names) ?? '', tag: `t${at}`, blobs, manifest, there: false, deletions: 0 }
}

async function pullImage(client: Client, { name, tag, blobs, manifest }: Image): Promise<void> {
  const { body } = expect(200, 'a manifest', await client.ask('GET', `/v2/${name}/manifests/${tag}`))
  if (!body.equals(manifest)) throw new Error('another manifest')
  for (const bytes of blobs) {
    const digest = digestOf(bytes)
    const { body } = expect(200, digest, await client.ask('GET', `/v2/${name}/blobs/${digest}`))
    if (!body.equals(bytes)) throw new Error(`other bytes under ${digest}`)
  }
}
