import type { KeyObject } from 'node:crypto'
import type { Config } from '../../../config/schema.ts'
import { fetchKeys } from '../../access/tokens/fetch-keys.ts'
import { parseIssuerKeys } from '../../access/tokens/keys.ts'
import { RemoteKeys } from '../../access/tokens/remote-keys.ts'
import { watchFiles } from '../../ports/watch.ts'
import { type AppContext, watchIntervalMs } from '../context.ts'

/** What keys are opened for. */
export interface KeysContext {
  context: AppContext
  /** Called when other keys are in force. */
  onChange: () => void
  /** Ends the reading. */
  stack: DisposableStack
}

/** Reads keys from files, and again whenever these change; rejects if they cannot be used. */
export async function openKeyFiles<V>(
  paths: readonly string[],
  parse: (files: readonly Buffer[]) => V,
  { context: { metrics, log, audit }, kind, onChange, stack }: KeysContext & { kind: 'token_keys' | 'issuer_keys' }
): Promise<() => V> {
  const watched = await watchFiles<Record<string, string>, V>({
    files: Object.fromEntries(paths.map((path, index) => [index, path])),
    intervalMs: watchIntervalMs,
    load: contents => parse(paths.map((_, index) => contents[index] ?? Buffer.alloc(0))),
    onChange: () => {
      onChange()
      void audit.record({ action: 'reload', actor: 'local', result: 'applied', file: paths })
      log.info({ files: paths }, 'the keys of tokens were reloaded')
    },
    onFault: fault => {
      metrics.reloadFaults.inc({ kind })
      void audit.record({ action: 'reload', actor: 'local', result: 'faulty', file: paths })
      log.error({ err: fault, files: paths }, 'the changed keys of tokens cannot be used; the previous ones stay in force')
    }
  })
  stack.defer(() => watched.stop())
  return () => watched.value
}

/** Reads the keys of the issuer of service account tokens, from files or from its URL. */
export async function openIssuerKeys(
  { keys, keysURL: url, ca, token, refresh }: NonNullable<Config['auth']['serviceAccounts']>,
  options: KeysContext
): Promise<{ keys: () => ReadonlyMap<string, KeyObject>; onUnknownKey: () => void }> {
  const { context, onChange, stack } = options
  if (url === undefined) {
    const parse = (files: readonly Buffer[]) => new Map(files.flatMap(file => [...parseIssuerKeys(file)]))
    return { keys: await openKeyFiles(keys ?? [], parse, { ...options, kind: 'issuer_keys' }), onUnknownKey: () => {} }
  }
  const { metrics, log } = context
  const remote = new RemoteKeys({
    fetch: () => fetchKeys({ url, ca, token }),
    refreshMs: refresh,
    now: Date.now,
    onChange: count => {
      onChange()
      log.info({ url, keys: count }, 'the keys of the issuer of service account tokens were read')
    },
    onFault: fault => {
      metrics.reloadFaults.inc({ kind: 'issuer_keys' })
      log.error({ err: fault, url }, 'the keys of the issuer of service account tokens cannot be read')
    }
  })
  stack.defer(() => remote.stop())
  // A start does not wait for the API server, whose image may have to be pulled from here.
  void remote.start()
  return { keys: () => remote.current, onUnknownKey: () => remote.refresh() }
}
