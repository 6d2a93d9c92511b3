import { baseUrl } from '../../../config/values/hosts.ts'
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
 * they will then.
 */
export function openProbe({ imagesRepo, scheme, username, password, ca }: CheckedRegistry, proxy: ProbeProxy | undefined): ImageProbe {
  const { address } = splitImagesRepo(imagesRepo)
  const upstream = new Upstream({
    endpoints: [new URL(baseUrl(scheme === 'http' ? 'HTTP' : 'HTTPS', address))],
    tokenHosts: [],
    redirectHosts: [],
    revalidate: 'head',
    limits,
    ...(username === '' ? {} : { credentials: { username, password } }),
    ...(ca === undefined ? {} : { ca }),
    ...(proxy ? { proxy } : {})
  })
  return {
    async find(image, signal) {
      const { name, reference } = parsePodReference(image)
      await upstream.statManifest(name, reference, signal)
    },
    [Symbol.asyncDispose]: () => upstream.close()
  }
}
