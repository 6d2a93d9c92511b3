import type { CheckedRegistry, CheckRequest } from '../machine/check-request.ts'
import type { CheckStatus } from '../machine/observed.ts'
import { type CheckItem, CheckQueue, checkText } from './queue.ts'
import type { RequiredImages } from './required-images.ts'

/** A registry that is asked whether it has images. */
export interface ImageProbe extends AsyncDisposable {
  /** Resolves if the registry has the image; rejects with a reason for people. */
  find(image: string, signal: AbortSignal): Promise<void>
}

/** Dependencies of the checker. */
export interface CheckerDeps {
  open(registry: CheckedRegistry, stored: boolean): Promise<ImageProbe>
  now(): number
  /** A run over the images has brought something new. */
  changed(): void
}

const workers = 3
const runMs = 30_000

interface Running {
  request: CheckRequest
  queues: CheckQueue[]
  stop: AbortController
  status: CheckStatus
}

/**
 * Checks that registries have the required images: three at a time in each, in runs of 30 s at most. One check at a
 * time; another one replaces it.
 */
export class Checker {
  readonly #deps: CheckerDeps
  #running: Running | undefined
  #done: Promise<void> = Promise.resolve()

  constructor(deps: CheckerDeps) {
    this.#deps = deps
  }

  /** The check that was last wanted. */
  get status(): CheckStatus | undefined {
    return this.#running?.status
  }

  /** Goes on with this check, or begins it; undefined ends the one that runs. */
  want(request: CheckRequest | undefined, images: RequiredImages): void {
    const before = this.#running
    if (before?.request.version === request?.version && before?.request.stored === request?.stored) return
    before?.stop.abort()
    if (!request) {
      this.#running = undefined
      return
    }
    const queues = request.registries.map(
      ({ name, imagesRepo }) =>
        new CheckQueue(
          name,
          images[request.checkMode].map(({ source, rest }) => ({ source, image: imagesRepo + rest }))
        )
    )
    const status = { version: request.version, ready: false, failing: false, message: checkText(queues, request.checkMode) }
    const running: Running = { request, queues, stop: new AbortController(), status }
    this.#running = running
    this.#done = Promise.all([this.#done, this.#run(running)]).then(() => {})
  }

  /** Ends the check; resolves when nothing of it runs any more. */
  async close(): Promise<void> {
    this.#running?.stop.abort()
    this.#running = undefined
    await this.#done
  }

  async #run(running: Running): Promise<void> {
    const { request, queues, stop } = running
    await Promise.all(
      queues.map(async (queue, index) => {
        const registry = request.registries[index]
        if (registry) await this.#checkRegistry(running, queue, registry)
      })
    )
    if (!stop.signal.aborted) this.#report(running)
  }

  async #checkRegistry(running: Running, queue: CheckQueue, registry: CheckedRegistry): Promise<void> {
    const { signal } = running.stop
    let probe: ImageProbe | undefined
    try {
      while (!queue.isDone && !signal.aborted) {
        probe ??= await this.#deps.open(registry, running.request.stored)
        await this.#turn(queue, probe, signal)
        this.#report(running)
        await pause((queue.resumeAt ?? 0) - this.#deps.now(), signal)
      }
    } finally {
      await probe?.[Symbol.asyncDispose]()
    }
  }

  async #turn(queue: CheckQueue, probe: ImageProbe, stop: AbortSignal): Promise<void> {
    const signal = AbortSignal.any([stop, AbortSignal.timeout(runMs)])
    const work = async () => {
      for (let item = queue.take(this.#deps.now()); item; item = signal.aborted ? undefined : queue.take(this.#deps.now())) {
        await ask(queue, probe, item, signal)
      }
    }
    await Promise.all(Array.from({ length: workers }, work))
    queue.endTurn(this.#deps.now())
  }

  #report(running: Running): void {
    const { request, queues, stop } = running
    if (stop.signal.aborted) return
    const ready = queues.every(({ isDone }) => isDone)
    const failing = queues.some(({ isFailing }) => isFailing)
    running.status = { version: request.version, ready, failing, message: checkText(queues, request.checkMode) }
    this.#deps.changed()
  }
}

async function ask(queue: CheckQueue, probe: ImageProbe, item: CheckItem, signal: AbortSignal): Promise<void> {
  try {
    await probe.find(item.image, signal)
    queue.succeed()
  } catch (error) {
    queue.fail(item, signal.aborted ? 'Request timeout' : oneLine(error))
  }
}

function oneLine(error: unknown): string {
  return (error instanceof Error ? error.message : String(error)).replace(/\s+/g, ' ').trim()
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  if (ms <= 0 || signal.aborted) return Promise.resolve()
  return new Promise(resolve => {
    const end = () => {
      clearTimeout(timer)
      signal.removeEventListener('abort', end)
      resolve()
    }
    const timer = setTimeout(end, ms)
    signal.addEventListener('abort', end)
  })
}
