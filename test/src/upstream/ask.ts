import { randomBytes } from 'node:crypto'
import type { Test } from 'tap'
import { type Digest, parseDigest } from '../../../src/oci/digest.ts'
import { parseReference, type Reference } from '../../../src/oci/name.ts'
import type { RangeRequest } from '../../../src/oci/range.ts'
import type { Served } from '../../../src/oci/source.ts'
import { Upstream, UpstreamError, type UpstreamEvent, type UpstreamHooks, type UpstreamOptions } from '../../../src/upstream/upstream.ts'
import type { TestUpstream } from '../../support/upstream.ts'

export const limits = { connections: 8, connectTimeout: 2000, headerTimeout: 5000, bodyTimeout: 5000 }

/** A client whose waits take no time, with what it reported. It may follow redirects to loopback. */
export function clientOf(
  t: Test,
  endpoints: readonly { url: string }[],
  { hooks = {}, ...settings }: Partial<UpstreamOptions> & { hooks?: UpstreamHooks } = {}
): { upstream: Upstream; events: UpstreamEvent[] } {
  const events: UpstreamEvent[] = []
  const urls = endpoints.map(each => new URL(each.url))
  const upstream = new Upstream(
    { endpoints: urls, tokenHosts: [], redirectHosts: ['127.0.0.1', 'localhost'], revalidate: 'get', limits, ...settings },
    { sleep: async () => {}, observe: event => void events.push(event), ...hooks }
  )
  t.teardown(() => upstream.close())
  return { upstream, events }
}

/** A signal that is never aborted. */
export function never(): AbortSignal {
  return new AbortController().signal
}

/** A tag or a digest. */
export function ref(text: string): Reference {
  return parseReference(text)
}

/** What was served, without how. */
export async function served<T>(answer: Promise<Served<T>>): Promise<T> {
  return (await answer).value
}

/** A new blob in an upstream. */
export function blobIn(server: TestUpstream, name: string, length: number): { bytes: Buffer; digest: Digest } {
  const bytes = randomBytes(length)
  return { bytes, digest: parseDigest(server.addBlob(name, bytes)) }
}

/** Reads a blob or a range of it to its end. */
export async function read(
  upstream: Upstream,
  name: string,
  digest: Digest,
  range?: RangeRequest
): Promise<{ bytes: Buffer; size: number | undefined; offset: number }> {
  const { size, offset, chunks } = await upstream.streamBlob(name, digest, { signal: never(), ...(range ? { range } : {}) })
  const all: Buffer[] = []
  for await (const chunk of chunks) all.push(chunk)
  return { bytes: Buffer.concat(all), size, offset }
}

/** The UpstreamError that a promise is rejected with. */
export async function errorOf(work: Promise<unknown>): Promise<UpstreamError> {
  try {
    await work
  } catch (error) {
    if (error instanceof UpstreamError) return error
    throw error
  }
  throw new Error('it did not fail')
}
