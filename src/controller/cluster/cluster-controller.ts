import { setTimeout as sleep } from 'node:timers/promises'
import { ApiError } from '../../kubernetes/api-error.ts'
import type { KubernetesClient } from '../../kubernetes/client.ts'
import type { Checker } from '../checker/checker.ts'
import type { RequiredImages } from '../checker/required-images.ts'
import { type ClusterOutcome, machine } from '../machine/machine.ts'
import type { Observed } from '../machine/observed.ts'
import { names } from '../objects/names.ts'
import { renderObjects } from '../objects/render.ts'
import { gatherImages } from './gather-images.ts'
import { generate, goodMaterial, randomSecret } from './generate.ts'
import { observeObjects } from './observe.ts'
import { readMaterial } from './read-material.ts'
import { readWanted } from './read-wanted.ts'
import type { Watches } from './watches.ts'
import { NotLeading, type WriteDeps, writeObject, writeObjects } from './write.ts'

/** What the controller tells its surroundings. */
export interface ControllerEvents {
  looked(outcome: ClusterOutcome, observed: Observed): void
  wrote(what: string): void
  failed(error: Error): void
}

/** Dependencies of the controller. */
export interface ControllerDeps {
  client: KubernetesClient
  watches: Watches
  checker: Checker
  leads(): boolean
  /** The image of the in-cluster proxy. */
  image: string
  /** Whether the nodes are static. */
  static: boolean
  now(): number
  events: ControllerEvents
}

const debounceMs = 100
const firstPauseMs = 1_000
const longestPauseMs = 30_000
const imagesAgeMs = 300_000
// Certificates are looked at anew.
const idleMs = 3_600_000

/**
 * Leads the cluster to what is wanted: looks at it whenever something has changed, and writes what a look has found.
 * One look at a time. A look that fails is repeated after a growing pause.
 */
export class ClusterController {
  readonly #deps: ControllerDeps
  #wake: () => void = () => {}
  #isDirty = true
  #images: { list: RequiredImages; at: number; key: string } | undefined
  #imagesFault = ''

  constructor(deps: ControllerDeps) {
    this.#deps = deps
  }

  /** Something has changed. */
  poke(): void {
    this.#isDirty = true
    this.#wake()
  }

  /** Looks and writes until the signal. */
  async run(signal: AbortSignal): Promise<void> {
    let failures = 0
    while (!signal.aborted) {
      if (!this.#isDirty) await this.#changed(signal)
      // What changes together is looked at together.
      await sleep(debounceMs, undefined, { signal }).catch(() => {})
      this.#isDirty = false
      try {
        await this.#look(signal)
        failures = 0
      } catch (error) {
        if (signal.aborted) return
        this.#isDirty = true
        if (!(error instanceof NotLeading)) this.#deps.events.failed(error as Error)
        const pause = Math.min(firstPauseMs * 2 ** failures++, longestPauseMs)
        await sleep(isConflict(error) ? debounceMs : pause, undefined, { signal }).catch(() => {})
      }
    }
  }

  #changed(signal: AbortSignal): Promise<void> {
    return new Promise(resolve => {
      const end = () => {
        clearTimeout(timer)
        signal.removeEventListener('abort', end)
        resolve()
      }
      const timer = setTimeout(end, idleMs)
      signal.addEventListener('abort', end)
      this.#wake = end
    })
  }

  async #look(signal: AbortSignal): Promise<void> {
    const { watches, checker, leads, events } = this.#deps
    if (!leads() || !watches.isSynced) {
      if (!leads()) checker.want(undefined, none)
      return
    }
    const before = watches.objects()
    const { wanted, halt } = readWanted({ secrets: before.secrets, settings: watches.settings }, observeObjects(before))
    const images = await this.#imagesNow(signal)
    const { observed, outcome } = await this.#decide(
      halt === undefined ? wanted : { generation: wanted.generation, faults: [halt] },
      images
    )
    checker.want(images && outcome.check, images ?? none)
    const rendered = renderObjects(outcome, observed.material, {
      image: this.#deps.image,
      replicas: observed.nodes.filter(each => each.controlPlane).length
    })
    events.looked(outcome, observed)
    if (halt === undefined) return writeObjects(rendered, this.#writing(), signal)
    // The state is kept as it is, so that it can be restored.
    const state = rendered.apply.find(({ metadata: { name } }) => name === names.secrets.state)
    if (state && observed.state) await writeObject(state, this.#writing(), signal)
    events.failed(new Error(halt))
  }

  async #decide(
    wanted: Parameters<typeof machine>[1],
    images: RequiredImages | undefined
  ): Promise<{ observed: Observed; outcome: ClusterOutcome }> {
    const now = this.#deps.now()
    const observed = this.#observe(images, now)
    for (;;) {
      const outcome = machine(observed, wanted, now)
      if (outcome.missing.length === 0) return { observed, outcome }
      for (const each of outcome.missing) observed.material = await generate(observed.material, each, now)
    }
  }

  #observe(images: RequiredImages | undefined, now: number): Observed {
    const { watches, checker } = this.#deps
    const objects = watches.objects()
    const seen = observeObjects(objects)
    const addresses = new Map(seen.nodes.flatMap(({ name, address }) => (address === undefined ? [] : [[name, address] as const])))
    const check = images ? checker.status : { version: '', ready: false, failing: true, message: this.#imagesFault }
    return {
      ...seen,
      bootstrapped: !seen.deckhouse || watches.isBootstrapped,
      static: this.#deps.static,
      material: goodMaterial(readMaterial(objects.secrets, addresses), now),
      requiredImages: images?.version ?? '',
      freshSecret: randomSecret(),
      ...(check ? { check } : {})
    }
  }

  #writing(): WriteDeps {
    const { client, watches, leads, events } = this.#deps
    return { client, watches, leads, wrote: events.wrote }
  }

  // Undefined: they are not known, which is not the same as none.
  async #imagesNow(signal: AbortSignal): Promise<RequiredImages | undefined> {
    const { client, watches, now } = this.#deps
    const list = watches.imageList
    const { state, deckhouseRegistry: registry } = observeObjects(watches.objects())
    const bases = [
      names.host + names.path,
      registry && registry.address + registry.path,
      state?.bashible.config?.imagesBase,
      state?.bashible.unmanaged_params?.imagesRepo
    ]
    const known = [...new Set(bases.filter(each => each !== undefined && each !== ''))] as string[]
    const key = `${list?.metadata.resourceVersion ?? ''} ${known.join(' ')}`
    if (this.#images?.key === key && now() - this.#images.at < imagesAgeMs) return this.#images.list
    try {
      this.#images = { list: await gatherImages(client, { list, bases: known }, signal), at: now(), key }
    } catch (error) {
      this.#imagesFault = `The required images are not known: ${(error as Error).message}`
      this.#deps.events.failed(error as Error)
    }
    return this.#images?.list
  }
}

const none: RequiredImages = { Default: [], Relax: [], version: '' }

// The next look sees what the other one has written.
function isConflict(error: unknown): boolean {
  return error instanceof ApiError && error.status === 409
}
