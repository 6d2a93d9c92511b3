import { setTimeout as delay } from 'node:timers/promises'
import { needBackends } from '../../config/difference.ts'
import type { Config } from '../../config/schema.ts'
import type { RateLimiter } from '../../storage/rate-limiter.ts'
import { buildBackends } from '../backend/build.ts'
import { BackendSwitch } from '../backend/switch.ts'
import { observeUpstream } from '../telemetry/cache.ts'
import type { Upstream } from '../upstream/upstream.ts'
import type { AppContext, CommitReload } from './context.ts'
import type { Store } from './store.ts'

/** The backends in force and their upstreams. */
export interface OpenedBackends extends AsyncDisposable {
  readonly modes: BackendSwitch
  upstreams(): ReadonlyMap<string, Upstream>
  /** Creates new backends if the change needs them. Running requests keep the old ones. */
  prepare(next: Config, changed: readonly string[]): Promise<CommitReload>
}

// How long running requests may use the old upstreams after a reload.
const retireAfterMs = 60_000
// How long closing waits for requests to upstreams that run.
const closeTimeoutMs = 1_000

/** Creates the backends of the configuration. No connection is opened yet. */
export async function openBackends(
  { config, metrics, log }: AppContext,
  { content, sink, fills }: Store,
  ingress: RateLimiter | undefined
): Promise<OpenedBackends> {
  const deps = { content, sink, fills, observe: observeUpstream(metrics, log), ingress }
  let current = await buildBackends(config(), deps)
  const modes = new BackendSwitch(current.backends)
  const retired = new Set<Upstream>()
  const retire = (old: readonly Upstream[]) => {
    for (const each of old) retired.add(each)
    const close = () => void closeAll(old).then(() => old.map(each => retired.delete(each)))
    setTimeout(close, retireAfterMs).unref()
  }
  return {
    modes,
    upstreams: () => current.upstreams,
    prepare: async (next, changed) => {
      // Tokens and limits that an upstream reported outlive an unrelated change.
      if (!needBackends(changed)) return () => {}
      const built = await buildBackends(next, deps)
      return () => {
        retire([...current.upstreams.values()])
        current = built
        modes.replace(built.backends)
      }
    },
    [Symbol.asyncDispose]: async () => {
      await fills.close()
      await Promise.race([closeAll([...current.upstreams.values(), ...retired]), delay(closeTimeoutMs, undefined, { ref: false })])
    }
  }
}

async function closeAll(upstreams: readonly Upstream[]): Promise<void> {
  await Promise.all(upstreams.map(each => each.close()))
}
