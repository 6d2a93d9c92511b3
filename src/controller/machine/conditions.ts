/** A step of a switch, or the whole of it (`Ready`), as Deckhouse's registry module names them. */
export const conditionTypes = [
  'Ready',
  'NodeServicesReady',
  'CleanupNodeServices',
  'InClusterProxyReady',
  'CleanupInClusterProxy',
  'ContainerdConfigPreflightReady',
  'TransitionContainerdConfigReady',
  'FinalContainerdConfigReady',
  'DeckhouseRegistrySwitchReady',
  'RegistryContainsRequiredImages',
  'ErrTransitionNotSupported'
] as const
export type ConditionType = (typeof conditionTypes)[number]

/** A condition (Kubernetes API conventions, "Typical status properties"). The time is RFC 3339 in whole seconds. */
export interface Condition {
  type: string
  status: 'True' | 'False'
  reason: '' | 'Ready' | 'Processing' | 'Error'
  message: string
  lastTransitionTime: string
  observedGeneration?: number
}

type Given = Omit<Condition, 'lastTransitionTime' | 'type'> & { type: ConditionType }

/**
 * The conditions of a switch, in the order in which they were last set. A condition that is set goes to the end; its
 * time changes with its status alone.
 */
export class Conditions {
  #list: Condition[]
  readonly #now: string

  constructor(list: readonly Condition[], now: number) {
    this.#list = [...list]
    this.#now = `${new Date(now).toISOString().slice(0, 19)}Z`
  }

  get list(): readonly Condition[] {
    return this.#list
  }

  find(type: ConditionType): Condition | undefined {
    return this.#list.find(each => each.type === type)
  }

  set(given: Given): void {
    const before = this.find(given.type)
    const lastTransitionTime = before?.status === given.status ? before.lastTransitionTime : this.#now
    this.remove(given.type)
    this.#list.push({ ...given, lastTransitionTime })
  }

  remove(type: ConditionType): void {
    this.#list = this.#list.filter(each => each.type !== type)
  }

  /** Types that this version does not know are those of an older or newer one, and would stay for ever. */
  dropUnknown(): void {
    const known: ReadonlySet<string> = new Set(conditionTypes)
    this.#list = this.#list.filter(each => known.has(each.type))
  }

  clear(): void {
    this.#list = []
  }
}
