import { isMapping } from '../../../config/read/walk.ts'
import type { KubernetesObject } from '../../kubernetes/object.ts'

/**
 * Whether an object has to be written: a field that it wants is another one or missing, or its `data` has more. What
 * the API server or other clients add beside is left alone.
 */
export function differs(found: KubernetesObject | undefined, wanted: KubernetesObject): boolean {
  if (!found) return true
  const { metadata, data, ...rest } = wanted
  const keys = Object.keys(found.data ?? {}).length
  if (data && keys !== Object.keys(data).length) return true
  return !covers(found.data, data) || !covers(found.metadata, metadata) || !covers(found, rest)
}

/** Whether a merge patch would change an object. */
export function changes(found: KubernetesObject | undefined, patch: KubernetesObject): boolean {
  return !found || !covers(found.data, patch.data)
}

function covers(found: unknown, wanted: unknown): boolean {
  if (wanted === undefined) return true
  if (Array.isArray(wanted))
    return Array.isArray(found) && found.length === wanted.length && wanted.every((each, index) => covers(found[index], each))
  if (isMapping(wanted)) return isMapping(found) && Object.entries(wanted).every(([key, value]) => covers(found[key], value))
  // Of an empty mapping or text the API server may leave nothing.
  return found === wanted || (wanted === '' && found === undefined)
}
