import type { Test } from 'tap'
import type { UpstreamConfig } from '../../../config/schema.ts'
import type { UpstreamRoute } from '../../../src/backend/routes.ts'
import { ownRoute } from '../../../src/backend/routes.ts'
import type { Content } from '../../../src/content/content.ts'
import { type FillEvent, Fills } from '../../../src/content/fill/fills.ts'
import type { OpenBlob } from '../../../src/oci/source.ts'
import type { Upstream } from '../../../src/upstream/upstream.ts'
import type { Storage } from '../../../storage/storage.ts'
import { openFor } from '../../support/content.ts'
import { startUpstream, type TestUpstream } from '../../support/upstream.ts'
import { clientOf } from '../upstream/ask.ts'

/** A store, an upstream and the route between them: `here[/…]` is `there[/…]`. */
export interface Scene {
  server: TestUpstream
  upstream: Upstream
  route: UpstreamRoute
  content: Content
  storage: Storage
  fills: Fills
  ended: FillEvent[]
  /** What the clock says; tests set it. */
  clock: { at: number }
}

/** Makes one; the store may be given. */
export async function scene(t: Test, given?: Storage): Promise<Scene> {
  const server = await startUpstream(t)
  const { upstream } = clientOf(t, [server])
  const { content, storage } = await openFor(t, given)
  const clock = { at: 1_000_000 }
  const ended: FillEvent[] = []
  const fills = new Fills(storage, content.commit, event => void ended.push(event), { now: () => clock.at })
  t.teardown(() => fills.close())
  return { server, upstream, route: routeTo(upstream, 'first.example'), content, storage, fills, ended, clock }
}

/** A route to `there` of an upstream that the settings call `host`. */
export function routeTo(upstream: Upstream, host: string): UpstreamRoute {
  return ownRoute('here', { host, path: 'there' } satisfies Pick<UpstreamConfig, 'host' | 'path'>, upstream)
}

/** The bytes of an open blob, which is closed. */
export async function readAll({ part, body }: OpenBlob): Promise<Buffer> {
  const chunks: Buffer[] = []
  try {
    for (let done = 0; part && done < part.length; ) {
      const buffer = Buffer.alloc(Math.min(65_536, part.length - done))
      const read = await body.readInto(buffer, part.offset + done)
      if (read === 0) break
      chunks.push(buffer.subarray(0, read))
      done += read
    }
    return Buffer.concat(chunks)
  } finally {
    await body.close()
  }
}
