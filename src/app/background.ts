import type { GcEvent } from '../content/gc/collect.ts'
import type { RegistryContext } from '../operations/operation.ts'
import type { OpenedBackends } from './backends.ts'
import type { AppContext } from './context.ts'
import { type GcRequest, GcRunner } from './gc-runner.ts'
import { startLongWork } from './long-work.ts'
import type { Store } from './store.ts'
import { startUploadExpiry } from './upload-expiry.ts'

/** The background work of a running process: scrub, garbage collection, and the expiry of upload sessions. */
export interface Background extends AsyncDisposable {
  /** The context of the operations that commands start. */
  readonly operationContext: RegistryContext
  /** What `/status` says of the scrub. */
  scrubStatus(): object
  /** Runs a garbage collection now. */
  collect(options?: GcRequest): AsyncIterable<GcEvent>
  /** Ends the running garbage collection and begins no other. */
  stopGc(): Promise<void>
}

/** Starts the background work, which yields while requests run. */
export async function startBackground(
  { config, metrics, log }: AppContext,
  { storage, content, fills, pins }: Store,
  { modes, upstreams }: Pick<OpenedBackends, 'modes' | 'upstreams'>,
  running: () => number
): Promise<Background> {
  await using onFailure = new AsyncDisposableStack()
  const busy = () => running() > 0
  const gc = new GcRunner({ storage, content, config, upstreams, pins, busy, metrics, log })
  const collect = (options: GcRequest = {}) => gc.collect(options)
  const longWork = await startLongWork({ config, content, storage, fills, modes, upstreams, running, collect, metrics, log })
  onFailure.defer(() => longWork.stop())
  onFailure.defer(startUploadExpiry(content, config().limits.uploadIdle, log))
  onFailure.defer(() => gc.stop())
  await gc.start()
  const stack = onFailure.move()
  return {
    operationContext: longWork.context,
    scrubStatus: longWork.scrubStatus,
    collect,
    stopGc: () => gc.stop(),
    [Symbol.asyncDispose]: () => stack.disposeAsync()
  }
}
