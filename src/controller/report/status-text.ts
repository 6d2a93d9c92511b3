import type { Condition } from '../machine/conditions.ts'

/** What Secret `registry-state` says. */
export interface SwitchStatus {
  mode: string
  targetMode: string
  conditions: readonly Condition[]
}

// What a person can do about a step that waits for long.
const advice: Readonly<Record<string, string>> = {
  RegistryContainsRequiredImages:
    'Push what is missing (Local), or check the address, the credentials and the CA in ModuleConfig deckhouse.',
  ContainerdConfigPreflightReady:
    'Move the registries in /etc/containerd/conf.d of these nodes to hosts.toml files, and remove them there.',
  NodeServicesReady: 'Look at the node, and there at: registry node status',
  TransitionContainerdConfigReady: 'Look at the nodes that are named, and there at: registry node status',
  FinalContainerdConfigReady: 'Look at the nodes that are named, and there at: registry node status',
  InClusterProxyReady: 'Look at: kubectl -n d8-system describe deployment registry-incluster-proxy',
  DeckhouseRegistrySwitchReady: 'Look at the queue of Deckhouse: d8 system queue list',
  CleanupNodeServices: 'Look at the nodes that are named, and there at: registry node status',
  CleanupInClusterProxy: 'Look at: kubectl -n d8-system describe deployment registry-incluster-proxy',
  ErrTransitionNotSupported: 'Name the upstream in spec.settings.registry.unmanaged, or go through another mode.'
}
const longMs = 120_000

/** Whether a switch has ended. */
export function isSwitched({ mode, targetMode, conditions }: SwitchStatus): boolean {
  return mode === targetMode && conditions.some(({ type, status }) => type === 'Ready' && status === 'True')
}

/** The state of a switch for people: what is done, what it waits for and since when, and past a while what to do. */
export function statusText(status: SwitchStatus, now: number): string {
  const { mode, targetMode, conditions } = status
  const head = isSwitched(status) ? `mode   ${mode}` : `mode   ${mode}, on the way to ${targetMode}`
  const lines = conditions.flatMap(({ type, status: state, message, lastTransitionTime }) => {
    const done = state === 'True' && type !== 'ErrTransitionNotSupported'
    const ageMs = now - Date.parse(lastTransitionTime)
    const first = `${done ? 'done ' : 'waits'}  ${type}${done ? '' : ` since ${ageText(ageMs)}`}`
    const told = message.trimEnd() === '' ? [] : message.trimEnd().split('\n')
    const hint = !done && ageMs > longMs && advice[type] ? [`→ ${advice[type]}`] : []
    return [first, ...[...told, ...hint].map(line => `         ${line}`)]
  })
  return `${[head, ...lines].join('\n')}\n`
}

function ageText(ms: number): string {
  const minutes = Math.floor(ms / 60_000)
  if (minutes < 1) return `${Math.max(0, Math.floor(ms / 1000))} s`
  return minutes < 60 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`
}
