import { type DeckhouseRegistry, hashOfRegistry, isSameRegistry } from '../objects/deckhouse-registry.ts'
import { switchText } from './texts.ts'
import type { Walk } from './walk.ts'

/** Deckhouse and its components use the registry. In a cluster without Deckhouse the Secret alone is written. */
export function switchDeckhouse(walk: Walk, registry: DeckhouseRegistry): boolean {
  const type = 'DeckhouseRegistrySwitchReady'
  const { deckhouse, deckhouseRegistry } = walk.observed
  walk.registry = registry
  if (!isSameRegistry(deckhouseRegistry, registry)) return walk.waits(type, switchText.secret)
  if (!deckhouse) return walk.ready(type)
  // Also without a pod: none has reported the version yet.
  if (deckhouse.pod?.registryVersion !== hashOfRegistry(registry)) return walk.waits(type, switchText.version)
  return deckhouse.pod.ready ? walk.ready(type) : walk.waits(type, switchText.ready)
}
