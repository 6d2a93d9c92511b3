import { isDigest } from '../../oci/digest.ts'
import { MalformedReference, parsePodReference } from '../../oci/pod-reference.ts'
import { hashOf } from '../objects/hash.ts'
import type { CheckItem } from './queue.ts'

/** An image that the cluster needs, by what follows the repository of the platform: `:v1`, `/install@sha256:…`. */
export interface RequiredImage {
  source: string
  /** Begins with `/`, `:` or `@`. */
  rest: string
}

/** The required images in both check modes, each image once; `version` changes with them. */
export interface RequiredImages {
  Default: readonly RequiredImage[]
  Relax: readonly RequiredImage[]
  version: string
}

/** An image as a workload or a list names it. */
export interface NamedImage {
  source: string
  reference: string
}

/**
 * The required images of a cluster whose images are below one of `bases`, the repositories of the platform: others are
 * not the platform's. `deckhouse` is the container that alone counts in `Relax`, and its reference must have a tag.
 */
export function requiredImages(images: readonly NamedImage[], bases: readonly string[], deckhouse: NamedImage | undefined): RequiredImages {
  const all = new Map<string, RequiredImage>()
  for (const { source, reference } of images) {
    const rest = restOf(reference, bases)
    if (rest !== undefined && !all.has(rest)) all.set(rest, { source, rest })
  }
  const sorted = [...all.values()].sort((a, b) => (a.rest < b.rest ? -1 : 1))
  const own = deckhouse && restOf(deckhouse.reference, bases)
  const relax = deckhouse && own !== undefined ? [{ source: deckhouse.source, rest: own }] : []
  return { Default: sorted, Relax: relax, version: hashOf(sorted, relax) }
}

function restOf(reference: string, bases: readonly string[]): string | undefined {
  const base = bases.find(each => reference.startsWith(each) && /^[/:@]/.test(reference.slice(each.length)))
  return base === undefined ? undefined : reference.slice(base.length)
}

/** The items of a registry's queue. */
export function itemsOf(images: readonly RequiredImage[], imagesRepo: string): CheckItem[] {
  return images.map(({ source, rest }) => ({ source, image: imagesRepo + rest }))
}

/**
 * Reads a list of images, one a line, as ConfigMap `registry-required-images` has it: a reference, a digest, or what
 * follows the repository; `#` begins a comment. A malformed line is a fault, since a shorter list would pass sooner.
 */
export function parseImageList(text: string, { source, base }: { source: string; base: string }): NamedImage[] {
  return text.split('\n').flatMap((line, index) => {
    const value = line.replace(/#.*/, '').trim()
    if (value === '') return []
    const reference = isDigest(value) ? `${base}@${value}` : /^[/:@]/.test(value) ? base + value : value
    try {
      parsePodReference(reference)
    } catch (error) {
      if (!(error instanceof MalformedReference)) throw error
      throw new Error(`${source}: line ${index + 1}: ${JSON.stringify(value.slice(0, 100))} is no image: ${error.message}`)
    }
    return [{ source, reference }]
  })
}
