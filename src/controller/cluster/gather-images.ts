import { isMapping } from '../../../config/read/walk.ts'
import type { KubernetesClient } from '../../kubernetes/client.ts'
import type { KubernetesObject } from '../../kubernetes/object.ts'
import { type NamedImage, parseImageList, type RequiredImages, requiredImages } from '../checker/required-images.ts'
import { names } from '../objects/names.ts'

const pageSize = 500

/**
 * The images that workloads of the cluster use now, and those of ConfigMap `registry-required-images`. Rejects where
 * one of them cannot be read: a shorter list would pass sooner.
 */
export async function gatherImages(
  client: KubernetesClient,
  { list, bases }: { list: KubernetesObject | undefined; bases: readonly string[] },
  signal: AbortSignal
): Promise<RequiredImages> {
  const images: NamedImage[] = []
  let deckhouse: NamedImage | undefined
  for await (const pod of pods(client, signal)) {
    const isDeckhouse = pod.metadata.namespace === names.namespace && pod.metadata.labels?.['app'] === 'deckhouse'
    const found = imagesOf(pod, isDeckhouse ? 'deckhouse' : `pod/${pod.metadata.namespace}/${pod.metadata.name}`)
    images.push(...found)
    if (isDeckhouse) deckhouse ??= found.find(({ source }) => source === 'deckhouse/containers/deckhouse')
  }
  for (const [key, text] of Object.entries(list?.data ?? {})) {
    images.push(...parseImageList(text, { source: `configmap/${names.requiredImages}/${key}`, base: names.host + names.path }))
  }
  return requiredImages(images, bases, deckhouse)
}

async function* pods(client: KubernetesClient, signal: AbortSignal): AsyncGenerator<KubernetesObject> {
  let next: string | undefined
  do {
    const query = new URLSearchParams({ limit: String(pageSize), ...(next ? { continue: next } : {}) })
    const page = await client.get<{ metadata?: { continue?: string }; items?: KubernetesObject[] }>(`/api/v1/pods?${query}`, signal)
    yield* page.items ?? []
    next = page.metadata?.continue
  } while (next)
}

// Pods of one workload have the same images and names of their own, so the name of the workload is what is left of it.
function imagesOf({ spec, metadata }: KubernetesObject, source: string): NamedImage[] {
  const owner = metadata.labels?.['app'] ?? metadata.labels?.['app.kubernetes.io/name']
  const of = source === 'deckhouse' ? source : owner === undefined ? source : `pod/${metadata.namespace}/${owner}`
  const list = (value: unknown, kind: string): NamedImage[] =>
    (Array.isArray(value) ? value : []).flatMap(each => {
      if (!isMapping(each) || typeof each['image'] !== 'string') return []
      return [{ source: `${of}/${kind}/${String(each['name'])}`, reference: each['image'] }]
    })
  return isMapping(spec) ? [...list(spec['initContainers'], 'init-containers'), ...list(spec['containers'], 'containers')] : []
}
