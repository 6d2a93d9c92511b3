import { decodeSecret, type KubernetesObject } from '../../kubernetes/object.ts'
import type { Observed } from '../machine/observed.ts'
import { names } from '../objects/names.ts'
import { readModuleConfig } from '../settings/module-config.ts'
import type { WantedCluster } from '../settings/params.ts'
import { readRegistryConfig } from '../settings/registry-config.ts'

/** What is wanted, and why it cannot be followed as the cluster is; then nothing but the conditions is written. */
export interface ReadWanted {
  wanted: WantedCluster
  halt?: string
}

/**
 * Reads the settings: Secret `registry-config` where Deckhouse hands them over, else ModuleConfig `deckhouse`. What is
 * gone is no wish: neither the settings nor the state of a switched cluster may be taken for those of a new one.
 */
export function readWanted(
  { secrets, settings }: { secrets: ReadonlyMap<string, KubernetesObject>; settings: KubernetesObject | undefined },
  { state, deckhouseRegistry }: Pick<Observed, 'state' | 'deckhouseRegistry'>
): ReadWanted {
  const handed = secrets.get(names.secrets.config)
  const wanted = handed ? readRegistryConfig(decodeSecret(handed), generationOf(handed)) : readModuleConfig(settings)
  const isManaged =
    deckhouseRegistry?.address === names.host || (state !== undefined && (state.mode !== 'Unmanaged' || state.target_mode !== 'Unmanaged'))
  if (!state && secrets.has(names.secrets.state))
    return {
      wanted,
      halt: `Secret ${names.secrets.state}: the key state cannot be read. Restore it from a backup; nothing is changed until then.`
    }
  if (!state && isManaged)
    return {
      wanted,
      halt: `Secret ${names.secrets.state} is gone though components use ${names.host}. Restore it from a backup; nothing is changed until then.`
    }
  if (!handed && !settings && isManaged)
    return {
      wanted,
      halt: 'ModuleConfig deckhouse is gone. Create it with the settings that are wanted, spec.settings.registry.mode Unmanaged to leave this registry; nothing is changed until then.'
    }
  return { wanted }
}

// A Secret has no generation of its own.
function generationOf({ metadata: { annotations = {} } }: KubernetesObject): number {
  return Number(annotations['version'] ?? 0) || 0
}
