import { hasStatus } from '../../kubernetes/api-error.ts'
import type { KubernetesClient } from '../../kubernetes/client.ts'
import type { KubernetesObject } from '../../kubernetes/object.ts'
import { collectionPath, objectPath } from '../../kubernetes/paths.ts'
import { names } from '../objects/names.ts'
import { ownLabel, type RenderedObjects } from '../objects/render.ts'
import { changes, differs } from './differs.ts'
import type { Watches } from './watches.ts'

/** This process does not lead any more: what it has seen may be old. */
export class NotLeading extends Error {
  override readonly name = 'NotLeading'
}

/** Dependencies of the writes of a look. */
export interface WriteDeps {
  client: KubernetesClient
  watches: Watches
  /** Whether this process may write, asked before each write. */
  leads(): boolean
  wrote(what: string): void
}

const [label = '', labelValue] = Object.entries(ownLabel)[0] ?? []

/**
 * Brings the objects of the cluster to what a look rendered, in its order, and then removes what is not among them.
 * Only what differs is written, each with the version that the look has seen: of two leaders one is refused.
 */
export async function writeObjects({ apply, merge, keep }: RenderedObjects, deps: WriteDeps, signal: AbortSignal): Promise<void> {
  // Not followed: it is written with the Deployment that it is about.
  const isRolled = apply.some(object => object.kind === 'Deployment' && differs(deps.watches.find(object), object))
  for (const object of apply) {
    const found = deps.watches.find(object)
    const isDue = object.kind === 'PodDisruptionBudget' ? isRolled : differs(found, object)
    if (isDue) await write(object, found, deps, signal)
  }
  if (merge && changes(deps.watches.find(merge), merge)) await mergeInto(merge, deps, signal)
  const wanted = new Set(apply.map(keyOf))
  for (const object of [...deps.watches.all()]) {
    if (isRemovable(object) && !wanted.has(keyOf(object)) && !keep.has(object.metadata.name)) await remove(object, deps, signal)
  }
}

/** Writes one object, if it differs. */
export async function writeObject(object: KubernetesObject, deps: WriteDeps, signal: AbortSignal): Promise<void> {
  const found = deps.watches.find(object)
  if (differs(found, object)) await write(object, found, deps, signal)
}

async function write(object: KubernetesObject, found: KubernetesObject | undefined, deps: WriteDeps, signal: AbortSignal): Promise<void> {
  const { client, watches, wrote } = deps
  check(deps)
  const isFollowed = object.kind !== 'PodDisruptionBudget'
  const version = found?.metadata.resourceVersion
  const locked = { ...object, metadata: { ...object.metadata, ...(version ? { resourceVersion: version } : {}) } }
  // What does not exist is created and not applied: if another leader was quicker, this one is refused.
  const written =
    found || !isFollowed ? await client.apply(objectPath(object), locked, signal) : await client.create(pathOf(object), object, signal)
  watches.note({ ...written, apiVersion: object.apiVersion, kind: object.kind }, 'written')
  wrote(`${object.kind}/${object.metadata.name}`)
}

async function mergeInto(object: KubernetesObject, deps: WriteDeps, signal: AbortSignal): Promise<void> {
  const { client, watches, wrote } = deps
  check(deps)
  const found = watches.find(object)
  const version = found?.metadata.resourceVersion
  const patch = { metadata: version ? { resourceVersion: version } : {}, data: object.data }
  const written = found ? await client.merge(objectPath(object), patch, signal) : await client.create(pathOf(object), object, signal)
  watches.note({ ...written, apiVersion: object.apiVersion, kind: object.kind }, 'written')
  wrote(`${object.kind}/${object.metadata.name}`)
}

async function remove(object: KubernetesObject, deps: WriteDeps, signal: AbortSignal): Promise<void> {
  const { client, watches, wrote } = deps
  check(deps)
  const { uid, resourceVersion } = object.metadata
  try {
    await client.remove(objectPath(object), { ...(uid ? { uid } : {}), ...(resourceVersion ? { resourceVersion } : {}) }, signal)
  } catch (error) {
    if (!hasStatus(error, 404)) throw error
  }
  if (object.kind === 'Deployment') await removeBudget(object, client, signal)
  watches.note(object, 'removed')
  wrote(`removal of ${object.kind}/${object.metadata.name}`)
}

async function removeBudget(
  { metadata: { name, namespace } }: KubernetesObject,
  client: KubernetesClient,
  signal: AbortSignal
): Promise<void> {
  const budget = { apiVersion: 'policy/v1', kind: 'PodDisruptionBudget', metadata: { name, ...(namespace ? { namespace } : {}) } }
  try {
    await client.remove(objectPath(budget), {}, signal)
  } catch (error) {
    if (!hasStatus(error, 404)) throw error
  }
}

// A person alone removes the configuration of the nodes.
function isRemovable({ metadata: { name, labels = {} } }: KubernetesObject): boolean {
  return labels[label] === labelValue && name !== names.secrets.bashible
}

function keyOf({ kind, metadata: { name } }: KubernetesObject): string {
  return `${kind}/${name}`
}

function pathOf({ apiVersion, kind, metadata: { namespace } }: KubernetesObject): string {
  return collectionPath({ apiVersion, kind, namespace })
}

function check({ leads }: WriteDeps): void {
  if (!leads()) throw new NotLeading('another controller may lead by now')
}
