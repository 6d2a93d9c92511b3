import { baseUrl } from '../../../config/values/hosts.ts'
import { type WalkOptions, walkGraph } from '../../oci/graph.ts'
import { parsePodReference } from '../../oci/pod-reference.ts'
import { Upstream } from '../../upstream/upstream.ts'
import type { CheckedRegistry } from '../machine/check-request.ts'
import { splitImagesRepo } from '../settings/params.ts'
import type { ImageProbe } from './checker.ts'

const limits = { connections: 3, connectTimeout: 5_000, headerTimeout: 20_000, bodyTimeout: 20_000 }

/** How an upstream is reached from where the controller runs. */
export interface ProbeProxy {
  http?: string
  https?: string
  none?: string
}

/**
 * Asks a registry for manifests by HEAD, with the client that pulls use: tokens, CA, rate limits and proxies count as
 * they will then. With `stored`, for all that an image needs, of what the registry has itself.
 */
export function openProbe(
  registry: CheckedRegistry,
  { proxy, stored = false }: { proxy?: ProbeProxy | undefined; stored?: boolean }
): ImageProbe {
  const { imagesRepo, scheme, username, password, ca } = registry
  const { address } = splitImagesRepo(imagesRepo)
  const upstream = new Upstream({
    endpoints: [new URL(baseUrl(scheme === 'http' ? 'HTTP' : 'HTTPS', address))],
    tokenHosts: [],
    redirectHosts: [],
    revalidate: 'head',
    limits,
    ...(stored ? { headers: { 'cache-control': 'only-if-cached' } } : {}),
    ...(username === '' ? {} : { credentials: { username, password } }),
    ...(ca === undefined ? {} : { ca }),
    ...(proxy ? { proxy } : {})
  })
  return {
    async find(image, signal) {
      const { name, reference } = parsePodReference(image)
      if (!stored) return void (await upstream.statManifest(name, reference, signal))
      const { value: root } = await upstream.getManifest(name, reference, { signal })
      await walkGraph({ descriptor: root.descriptor, bytes: root.bytes }, { ...walkOf(upstream, name), signal })
    },
    [Symbol.asyncDispose]: () => upstream.close()
  }
}

// Nodes have the architecture of the control plane; a cache fetches no other one.
const platforms = [`linux/${process.arch === 'x64' ? 'amd64' : process.arch}`]

function walkOf(upstream: Upstream, name: string): Omit<WalkOptions, 'signal'> {
  return {
    read: async ({ descriptor: { digest } }, signal) => (await upstream.getManifest(name, { digest }, { signal })).value.bytes,
    visit: async (node, signal) => {
      if (node.kind === 'blob' && !node.nonDistributable) await upstream.checkBlob(name, node.descriptor.digest, signal)
    },
    order: 'parents-first',
    platforms
  }
}
