import { join } from 'node:path'
import type { Test } from 'tap'
import { makeBucket, type S3Server, s3Settings } from '../support/s3-server.ts'
import { makeSample, type SampleLayout } from './image.ts'
import { temporaryFolder } from './place.ts'
import { type Product, type Registry, type RegistryOptions, startProduct } from './registry.ts'
import { pull } from './skopeo.ts'

/** The product with everything in a bucket. */
export async function onBucket(
  t: Test,
  server: S3Server,
  { bucket = makeBucket(server), settings = {}, ...options }: Partial<RegistryOptions> & { bucket?: string } = {}
): Promise<Product> {
  const folder = await temporaryFolder(t)
  const storage = { s3: s3Settings(server, bucket, join(folder, 'spool')) }
  return await startProduct(t, { root: join(folder, 'unused'), ...options, settings: { ...settings, storage } })
}

/** A new image index. */
export async function sampleOf(t: Test): Promise<SampleLayout> {
  return await makeSample(join(await temporaryFolder(t), 'made'))
}

/** Everything of the index comes back, by its tag and by its digest. */
export async function serves(t: Test, registry: Registry, name: string, { layout, index }: SampleLayout): Promise<void> {
  for (const reference of [`${name}:all`, `${name}@${index.digest}`]) {
    const pulled = await pull(registry, reference, await temporaryFolder(t))
    t.same(await pulled.digests(), await layout.digests(), `${reference} is whole`)
    t.same(await pulled.damaged(), [], `${reference} has no damaged blob`)
  }
}
