import { loadConfig } from '../../../config/load.ts'
import type { Backend } from '../../backend/backend.ts'
import type { Bundle } from '../../bundle/bundle.ts'
import type { BundlePlan } from '../../bundle/plan.ts'
import { BundleSource, nameBelow } from '../../bundle/source.ts'
import { OciError } from '../../oci/errors.ts'
import type { Name } from '../../oci/name.ts'
import { Audit } from '../../telemetry/audit.ts'
import { createLog, type Logger } from '../../telemetry/log.ts'
import { createMetrics } from '../../telemetry/metrics.ts'
import type { AppContext } from '../context.ts'
import { createGateway, openRegistryPort } from '../ports.ts'
import { openAccess } from '../users.ts'

/** A bundle that is served as a registry. */
export interface ServedBundle extends AsyncDisposable {
  /** `<host>:<port>` */
  readonly address: string
}

/** How a bundle is served: where, and under which name its root is found. */
export interface ServeBundleOptions {
  listen: { host: string; port: number }
  path: Name
  log: Logger
}

class BundleBackend extends BundleSource implements Backend {
  readonly mode = 'bundle'
}

/**
 * Serves a bundle over HTTP straight from its archives, read-only and to all who can connect. The registry port is that
 * of `registry serve` with the default settings; `ns=` is ignored, since containerd may ask for any registry that the
 * bundle came from.
 */
export async function serveBundle(bundle: Bundle, plan: BundlePlan, { listen, path, log }: ServeBundleOptions): Promise<ServedBundle> {
  await using stack = new AsyncDisposableStack()
  const defaults = loadConfig({ env: {} })
  const config = { ...defaults, server: { ...defaults.server, listen } }
  // Nothing can be changed, so that there is nothing to tell.
  const audit = stack.use(await Audit.open('stdout', { log: createLog('silent'), onLost: () => {} }))
  const context: AppContext = { config: () => config, stopping: new AbortController().signal, metrics: createMetrics(), log, audit }
  const backend = new BundleBackend(
    bundle,
    each => nameBelow(path, each),
    subject => plan.referrers.get(subject) ?? []
  )
  const nothingPushed = async () => {
    throw new OciError('BLOB_UPLOAD_UNKNOWN')
  }
  const { gateway } = stack.use(
    createGateway(context, {
      store: { storage: { shortage: async () => undefined }, sink: { resumeUpload: nothingPushed } },
      modes: { backendFor: () => backend },
      access: stack.use(await openAccess(context)),
      egress: undefined
    })
  )
  const { address } = stack.use(await openRegistryPort(context, gateway, undefined))
  const owned = stack.move()
  return { address, [Symbol.asyncDispose]: () => owned.disposeAsync() }
}
