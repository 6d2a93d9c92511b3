import type { DeckhouseRegistry } from '../objects/deckhouse-registry.ts'
import type { MissingMaterial } from '../objects/material.ts'
import { endpointOf } from '../objects/names.ts'
import type { ClusterParams } from '../settings/params.ts'
import type { CheckRequest } from './check-request.ts'
import { Conditions, type ConditionType } from './conditions.ts'
import type { Observed, ObservedNode } from './observed.ts'
import type { ClusterState } from './state.ts'

/** One walk over the steps of a switch: what is seen and wanted, the state that it makes, and what it finds out. */
export class Walk {
  readonly observed: Observed
  readonly params: ClusterParams
  readonly generation: number
  readonly state: ClusterState
  readonly conditions: Conditions
  readonly missing: MissingMaterial[] = []
  /** The check that is to run. */
  check?: CheckRequest
  /** What Secret `deckhouse-registry` is to hold, once the switch has come so far. */
  registry?: DeckhouseRegistry

  constructor(observed: Observed, { params, generation }: { params: ClusterParams; generation: number }, state: ClusterState, now: number) {
    this.observed = observed
    this.params = params
    this.generation = generation
    this.state = state
    this.conditions = new Conditions(state.conditions, now)
  }

  /** The nodes that replicas run on. */
  get replicas(): ObservedNode[] {
    return this.observed.nodes.filter(({ controlPlane }) => controlPlane)
  }

  /** `ip:port` of each replica. */
  get endpoints(): string[] {
    return this.replicas.flatMap(({ address }) => (address === undefined ? [] : [endpointOf(address)]))
  }

  /** The step has ended; most conditions say no more then. */
  ready(type: ConditionType, text?: { reason: 'Ready'; message: string }): true {
    this.conditions.set({ type, status: 'True', reason: text?.reason ?? '', message: text?.message ?? '', ...this.#generation })
    return true
  }

  /** The step waits. */
  waits(type: ConditionType, message: string, reason: 'Processing' | 'Error' = 'Processing'): false {
    this.conditions.set({ type, status: 'False', reason, message, ...this.#generation })
    return false
  }

  get #generation(): { observedGeneration?: number } {
    return this.generation > 0 ? { observedGeneration: this.generation } : {}
  }
}
