import type { CheckMode } from '../../../config/sections/registry.ts'
import { hashOf } from '../objects/hash.ts'

/** A registry whose content is checked. */
export interface CheckedRegistry {
  /** The host of an upstream; the name of the node of a replica. Messages call it so. */
  name: string
  /** `host[:port][/path]` */
  imagesRepo: string
  scheme: 'http' | 'https'
  username: string
  password: string
  ca?: string
}

/** A check that all registries have the required images. */
export interface CheckRequest {
  /** Changes with all of it, and with the list of images; not with `stored`. */
  version: string
  /** The same without the list of images. */
  subject: string
  checkMode: CheckMode
  registries: readonly CheckedRegistry[]
  /** Whether content that the registry would have to fetch counts as missing, blobs included. */
  stored: boolean
}

/** A check of these registries for a version of the list of images. */
export function checkRequest(
  registries: readonly CheckedRegistry[],
  { checkMode, images, stored }: { checkMode: CheckMode; images: string; stored: boolean }
): CheckRequest {
  const sorted = [...registries].sort((a, b) => (a.name < b.name ? -1 : 1))
  return { version: hashOf(sorted, checkMode, images), subject: hashOf(sorted, checkMode), checkMode, registries: sorted, stored }
}
