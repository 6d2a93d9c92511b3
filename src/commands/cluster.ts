import { setTimeout as sleep } from 'node:timers/promises'
import { parse } from 'yaml'
import type { Condition } from '../controller/machine/conditions.ts'
import { names } from '../controller/objects/names.ts'
import { isSwitched, type SwitchStatus, statusText } from '../controller/report/status-text.ts'
import { readModuleConfig } from '../controller/settings/module-config.ts'
import { hasStatus } from '../kubernetes/api-error.ts'
import { KubernetesClient } from '../kubernetes/client.ts'
import { decodeSecret, type KubernetesObject } from '../kubernetes/object.ts'
import { clusterAccess } from './controller.ts'
import { WrongUse } from './run-operation.ts'

/** How a command reaches a cluster. */
export interface ClusterFlags {
  kubeconfig?: string
  context?: string
  json?: true
}

/** What `registry switch` is told besides the mode. */
export interface SwitchFlags extends ClusterFlags {
  imagesRepo?: string
  scheme?: string
  license?: string
  username?: string
  password?: string
  wait?: true
}

const settingsPath = '/apis/deckhouse.io/v1alpha1/moduleconfigs/deckhouse'
const statePath = `/api/v1/namespaces/${names.namespace}/secrets/${names.secrets.state}`
const pollMs = 1_000
const sections: Readonly<Record<string, string>> = { Direct: 'direct', Proxy: 'proxy', Unmanaged: 'unmanaged' }

/** Prints where the cluster stands; resolves to whether it has reached its mode. */
export async function showCluster(flags: ClusterFlags, print = toStandardOutput): Promise<boolean> {
  return withClient(flags, async client => {
    const status = await readStatus(client)
    print(flags.json ? `${JSON.stringify(status)}\n` : statusText(status, Date.now()))
    return isSwitched(status)
  })
}

/** Edits ModuleConfig `deckhouse`, and with `--wait` follows the switch to its end. */
export async function switchCluster(mode: string, flags: SwitchFlags, print = toStandardOutput): Promise<boolean> {
  const registry = registryOf(mode, flags)
  const found = readModuleConfig({ spec: { version: 1, settings: { registry } } })
  if ('faults' in found) throw new WrongUse(found.faults.join('\n'))
  return withClient(flags, async client => {
    const since = await edit(client, registry)
    if (!flags.wait) return true
    let shown = ''
    for (;;) {
      const status = await readStatus(client)
      const text = statusText(status, Date.now())
      const stable = text.replace(/ since .*/g, '')
      if (stable !== shown) print(`${text}\n`)
      shown = stable
      const isOf = status.conditions.every(({ type, observedGeneration = 0 }) => type !== 'Ready' || observedGeneration >= since)
      if (isOf && status.targetMode === mode && isSwitched(status)) return true
      await sleep(pollMs)
    }
  })
}

function registryOf(mode: string, { imagesRepo, scheme, license, username, password }: SwitchFlags): Record<string, unknown> {
  const given = Object.entries({ imagesRepo, scheme, license, username, password }).filter(([, value]) => value !== undefined)
  const section = sections[mode]
  if (given.length === 0) return { mode }
  if (section === undefined) throw new WrongUse(`mode ${mode} takes no upstream: leave out ${given.map(([name]) => name).join(', ')}`)
  return { mode, [section]: Object.fromEntries(given) }
}

// The generation of the settings: conditions of an older one say nothing about this switch.
async function edit(client: KubernetesClient, registry: Record<string, unknown>): Promise<number> {
  // In a merge patch null removes the sections of other modes.
  const all = { direct: null, proxy: null, unmanaged: null, ...registry }
  try {
    const written = await client.merge(settingsPath, { spec: { version: 1, enabled: true, settings: { registry: all } } })
    return written.metadata.generation ?? 0
  } catch (error) {
    if (!hasStatus(error, 404)) throw error
    const object = {
      apiVersion: 'deckhouse.io/v1alpha1',
      kind: 'ModuleConfig',
      metadata: { name: 'deckhouse' },
      spec: { version: 1, enabled: true, settings: { registry } }
    }
    return (await client.create(settingsPath.slice(0, -'/deckhouse'.length), object)).metadata.generation ?? 0
  }
}

async function readStatus(client: KubernetesClient): Promise<SwitchStatus> {
  let secret: KubernetesObject
  try {
    secret = await client.get(statePath)
  } catch (error) {
    if (!hasStatus(error, 404)) throw error
    throw new Error(
      `no Secret ${names.secrets.state} in namespace ${names.namespace}: no controller has looked at this cluster yet (registry controller)`
    )
  }
  const { mode = '', target_mode: targetMode = '', conditions = '' } = decodeSecret(secret)
  return { mode, targetMode, conditions: (parse(conditions) ?? []) as Condition[] }
}

async function withClient<T>(flags: ClusterFlags, use: (client: KubernetesClient) => Promise<T>): Promise<T> {
  const client = new KubernetesClient(clusterAccess(flags))
  try {
    return await use(client)
  } finally {
    await client.close()
  }
}

function toStandardOutput(text: string): void {
  process.stdout.write(text)
}
