import type { NodeSource, ReplicaParams } from '../objects/bashible-config.ts'
import { type DeckhouseRegistry, managedRegistry, unmanagedRegistry } from '../objects/deckhouse-registry.ts'
import { usersOfMode } from '../objects/node-config.ts'
import type { UpstreamParams } from '../settings/params.ts'
import { checkReplicas, checkStored, checkUpstream } from './step-check.ts'
import { finish, finishUnmanaged, preflight, transition } from './step-nodes.ts'
import { cleanupInClusterProxy, cleanupNodeServices, inClusterProxy, material, nodeServices } from './step-services.ts'
import { switchDeckhouse } from './step-switch.ts'
import type { Walk } from './walk.ts'

/** A step returns whether it is done; a walk ends at the first that is not. */
type Step = (walk: Walk) => boolean

/** A way to a target: Unmanaged has three, by what is configured and what there is to go back from. */
export type Way = 'Direct' | 'Proxy' | 'Local' | 'Unmanaged' | 'UnmanagedBack' | 'UnmanagedBare'

const step = {
  checkUpstream: walk => checkUpstream(walk, upstreamOf(walk)),
  checkReplicas: walk => checkReplicas(walk, { stored: false }),
  checkStored,
  preflight,
  materialDirect: walk => material(walk, []),
  materialProxy: walk => material(walk, usersOfMode.Proxy),
  materialLocal: walk => material(walk, usersOfMode.Local),
  servicesProxy: walk => {
    const { ttl } = walk.params
    return nodeServices(walk, { mode: 'Proxy', upstream: upstreamOf(walk), ...(ttl === undefined ? {} : { ttl }) })
  },
  servicesLocal: walk => nodeServices(walk, { mode: 'Local' }),
  transition: walk => transition(walk, sourceOf(walk)),
  inClusterProxy: walk => inClusterProxy(walk, { mode: 'Direct', upstream: upstreamOf(walk) }),
  serviceToProxy: walk => leadService(walk, 'incluster-proxy'),
  serviceToNodes: walk => leadService(walk, 'node-services'),
  serviceOff: walk => leadService(walk, ''),
  ingressOn: walk => enableIngress(walk, true),
  ingressOff: walk => enableIngress(walk, false),
  switchDeckhouse: walk => switchDeckhouse(walk, registryOf(walk)),
  final: walk => finish(walk, sourceOf(walk)),
  finalBare: finishUnmanaged,
  cleanupNodeServices,
  cleanupInClusterProxy,
  usersNone: walk => keepUsers(walk, []),
  usersProxy: walk => keepUsers(walk, usersOfMode.Proxy),
  forgetUpstream: walk => {
    delete walk.state.bashible.unmanaged_params
    return true
  },
  keepUpstream: walk => {
    walk.state.bashible.unmanaged_params = upstreamOf(walk)
    return true
  },
  dropKeys: walk => {
    walk.state.pki = false
    walk.state.secrets.http = ''
    return keepUsers(walk, [])
  }
} satisfies Record<string, Step>

/** The steps to each target, in their order; that of conditions follows from it. */
export const ways: Readonly<Record<Way, readonly (keyof typeof step)[]>> = {
  // The in-cluster proxy changes after the nodes do: until then they may pull through the one that is there.
  Direct: [
    ...(['checkUpstream', 'preflight', 'materialDirect', 'transition', 'inClusterProxy', 'serviceToProxy', 'switchDeckhouse'] as const),
    ...(['final', 'cleanupNodeServices', 'ingressOff', 'usersNone', 'keepUpstream'] as const)
  ],
  Proxy: [
    ...(['checkUpstream', 'preflight', 'materialProxy', 'servicesProxy', 'transition', 'serviceToNodes', 'switchDeckhouse'] as const),
    ...(['final', 'cleanupInClusterProxy', 'ingressOff', 'usersProxy', 'keepUpstream'] as const)
  ],
  Local: [
    ...(['preflight', 'materialLocal', 'checkStored', 'servicesLocal', 'ingressOn', 'checkReplicas', 'transition'] as const),
    ...(['serviceToNodes', 'switchDeckhouse', 'final', 'cleanupInClusterProxy', 'forgetUpstream'] as const)
  ],
  Unmanaged: [
    ...(['checkUpstream', 'preflight', 'transition', 'switchDeckhouse', 'final', 'cleanupNodeServices', 'cleanupInClusterProxy'] as const),
    ...(['serviceOff', 'ingressOff', 'dropKeys', 'keepUpstream'] as const)
  ],
  UnmanagedBack: [
    ...(['checkUpstream', 'transition', 'switchDeckhouse', 'finalBare', 'cleanupNodeServices', 'cleanupInClusterProxy'] as const),
    ...(['serviceOff', 'ingressOff', 'dropKeys', 'forgetUpstream'] as const)
  ],
  UnmanagedBare: ['finalBare', 'cleanupNodeServices', 'cleanupInClusterProxy', 'serviceOff', 'ingressOff', 'dropKeys', 'forgetUpstream']
}

/** Walks the steps to the target; true if all are done. */
export function takeSteps(walk: Walk, way: Way): boolean {
  return ways[way].every(name => step[name](walk))
}

// In non-configurable Unmanaged the last upstream counts.
function upstreamOf({ params, state }: Walk): UpstreamParams {
  const upstream = params.upstream ?? state.bashible.unmanaged_params
  if (!upstream) throw new Error(`mode ${params.mode} has no upstream`)
  return upstream
}

function sourceOf(walk: Walk): NodeSource {
  const { mode } = walk.params
  if (mode === 'Proxy') return { proxy: readerOf(walk) }
  if (mode === 'Local') return { local: readerOf(walk) }
  return mode === 'Direct' ? { direct: upstreamOf(walk) } : { unmanaged: upstreamOf(walk) }
}

function registryOf(walk: Walk): DeckhouseRegistry {
  const { mode } = walk.params
  if (mode === 'Unmanaged') return unmanagedRegistry(upstreamOf(walk))
  if (mode !== 'Direct') return managedRegistry(readerOf(walk))
  const { username, password } = upstreamOf(walk)
  return managedRegistry({ ca: walk.observed.material.pki?.ca.cert ?? '', username, password })
}

function readerOf({ observed: { material } }: Walk): ReplicaParams {
  const { name, password } = material.users['ro'] ?? { name: '', password: '' }
  return { ca: material.pki?.ca.cert ?? '', username: name, password }
}

function leadService({ state }: Walk, to: Walk['state']['registry_service']): true {
  state.registry_service = to
  return true
}

function enableIngress({ state }: Walk, on: boolean): true {
  state.ingress_enabled = on
  return true
}

function keepUsers({ state }: Walk, users: readonly string[]): true {
  state.users = [...users]
  return true
}
