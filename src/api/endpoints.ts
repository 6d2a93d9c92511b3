import type { IncomingMessage, ServerResponse } from 'node:http'
import { OciError } from '../oci/errors.ts'
import { referenceText } from '../oci/name.ts'
import { deleteBlob, getBlob, headBlob } from './blobs.ts'
import { type Exchange, type RequiredPermission, respondEmpty } from './exchange.ts'
import { discover, listNames, listReferrers, listTags } from './lists.ts'
import { deleteManifest, getManifest, headManifest, putManifest } from './manifests.ts'
import type { Endpoint, Route } from './routes.ts'
import { getToken, postToken } from './tokens/token.ts'
import { deleteUpload, getUpload, patchUpload, putUpload, startUpload } from './uploads.ts'

type Handler<R extends Route = Route> = (exchange: Exchange, route: R) => Promise<void> | void
type Of<E extends Endpoint> = Extract<Route, { endpoint: E }>
type Methods<R extends Route> = Partial<Record<string, { permission: RequiredPermission; handle: Handler<R> }>>

// The endpoints table of the distribution-spec ("API").
const table: { [E in Endpoint]: Methods<Of<E>> } = {
  root: reads('open', exchange => respondEmpty(exchange, 200)),
  base: reads('base', exchange => respondEmpty(exchange, 200)),
  token: {
    GET: { permission: 'open', handle: exchange => getToken(exchange) },
    POST: { permission: 'open', handle: exchange => postToken(exchange) }
  },
  catalog: reads('pull', exchange => listNames(exchange)),
  discover: reads('pull', exchange => discover(exchange)),
  tags: reads('pull', (exchange, { name }) => listTags(exchange, name)),
  referrers: reads('pull', (exchange, { name, digest }) => listReferrers(exchange, name, digest)),
  manifest: {
    GET: { permission: 'pull', handle: (exchange, { name, reference }) => getManifest(exchange, name, reference) },
    HEAD: { permission: 'pull', handle: (exchange, { name, reference }) => headManifest(exchange, name, reference) },
    PUT: { permission: 'push', handle: (exchange, { name, reference }) => putManifest(exchange, name, reference) },
    DELETE: { permission: 'delete', handle: (exchange, { name, reference }) => deleteManifest(exchange, name, reference) }
  },
  blob: {
    GET: { permission: 'pull', handle: (exchange, { name, digest }) => getBlob(exchange, name, digest) },
    HEAD: { permission: 'pull', handle: (exchange, { name, digest }) => headBlob(exchange, name, digest) },
    DELETE: { permission: 'delete', handle: (exchange, { name, digest }) => deleteBlob(exchange, name, digest) }
  },
  uploads: { POST: { permission: 'push', handle: (exchange, { name }) => startUpload(exchange, name) } },
  upload: {
    GET: { permission: 'push', handle: (exchange, { name, session }) => getUpload(exchange, name, session) },
    PATCH: { permission: 'push', handle: (exchange, { name, session }) => patchUpload(exchange, name, session) },
    PUT: { permission: 'push', handle: (exchange, { name, session }) => putUpload(exchange, name, session) },
    DELETE: { permission: 'push', handle: (exchange, { name, session }) => deleteUpload(exchange, name, session) }
  }
}

function reads<R extends Route>(permission: RequiredPermission, handle: Handler<R>): Methods<R> {
  return { GET: { permission, handle }, HEAD: { permission, handle } }
}

/** The handler of `method` on a route; UNSUPPORTED (405) with `Allow` if there is none. */
export function resolve(route: Route, method: string): { permission: RequiredPermission; handle: Handler } {
  const methods = table[route.endpoint]
  const found = Object.hasOwn(methods, method) ? methods[method as keyof typeof methods] : undefined
  // The table's type pairs each endpoint with its routes.
  if (found) return found as { permission: RequiredPermission; handle: Handler }
  throw new OciError('UNSUPPORTED', {
    detail: { reason: `${method} is not defined here` },
    headers: { allow: Object.keys(methods).join(', ') }
  })
}

/** The fields of a route in log lines. */
export function describe(route: Route): { route: Endpoint; name?: string; reference?: string; digest?: string; session?: string } {
  return {
    route: route.endpoint,
    ...(route.name === undefined ? {} : { name: route.name }),
    ...('reference' in route ? { reference: referenceText(route.reference) } : {}),
    ...('digest' in route ? { digest: route.digest } : {}),
    ...('session' in route ? { session: route.session } : {})
  }
}

/** A signal that is aborted when the client disconnects before its response is complete. */
export function clientSignal(request: IncomingMessage, response: ServerResponse): AbortSignal {
  const controller = new AbortController()
  response.once('close', () => {
    if (!response.writableFinished) controller.abort(new Error('the client is gone'))
  })
  if (request.destroyed && response.destroyed) controller.abort()
  return controller.signal
}
