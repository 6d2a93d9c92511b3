import { join, resolve } from 'node:path'
import { registryIn, registrySettingsOf } from './resolve-registry.ts'
import { s3In, s3SettingsOf } from './resolve-s3.ts'
import type { Config, Permission, Settings, SpaceLimit } from './schema.ts'
import { valid, withoutPrototype } from './valid.ts'
import { parseHost, parseProxy } from './values/hosts.ts'
import {
  formatAddress,
  formatDuration,
  formatShare,
  parseAddress,
  parseBytes,
  parseDuration,
  parseInodes,
  parseSpace
} from './values/units.ts'

const EVERYTHING: readonly Permission[] = ['pull', 'push', 'delete']

/** The effective configuration of validated settings; relative paths start at `folder`. */
export const resolveSettings = (settings: Settings, folder: string): Config => {
  const { registry, server, storage, auth, limits, cache, gc, scrub, upstream, log } = settings
  const root = resolve(folder, storage.filesystem.root)
  const own = storage.s3 ? resolve(folder, storage.s3.spool) : join(root, '.registry')
  return freeze({
    registry: registryIn(registry),
    server: {
      listen: valid(parseAddress(server.listen)),
      names: server.names,
      path: server.path,
      ...(server.tls && { tls: tlsIn(server.tls, folder) }),
      admin: valid(parseAddress(server.admin)),
      control: server.control === undefined ? join(own, 'control.sock') : resolve(folder, server.control),
      forwarders: server.forwarders,
      drain: valid(parseDuration(server.drain))
    },
    storage: storageIn(storage, root, folder),
    auth: auth ? authIn(auth, folder) : { anonymous: EVERYTHING },
    limits: {
      manifestBytes: valid(parseBytes(limits.manifestBytes)),
      uploadIdle: valid(parseDuration(limits.uploadIdle)),
      minimumRate: { bytes: valid(parseBytes(limits.minimumRate.bytes)), per: valid(parseDuration(limits.minimumRate.per)) },
      connections: limits.connections,
      uploads: limits.uploads,
      ...rateIn('egress', limits.egress),
      ...rateIn('upstream', limits.upstream)
    },
    cache: {
      tagTTL: valid(parseDuration(cache.tagTTL)),
      onUpstreamNotFound: cache.onUpstreamNotFound,
      negativeTTL: valid(parseDuration(cache.negativeTTL)),
      metadataTTL: valid(parseDuration(cache.metadataTTL)),
      pin: cache.pin,
      ...(cache.pinFile !== undefined && { pinFile: resolve(folder, cache.pinFile) })
    },
    gc: {
      ...(gc.untagged !== 'keep' && { untagged: valid(parseDuration(gc.untagged)) }),
      grace: valid(parseDuration(gc.grace)),
      every: valid(parseDuration(gc.every))
    },
    scrub: { every: valid(parseDuration(scrub.every)) },
    upstream: upstreamIn(upstream),
    log: { level: log.level }
  })
}

/** The settings that resolve to this configuration, in the file's notation. */
export const settingsOf = ({ server, auth, limits, cache, gc, scrub, upstream, ...others }: Config): Record<keyof Config, unknown> => ({
  registry: registrySettingsOf(others.registry),
  server: {
    ...server,
    listen: formatAddress(server.listen),
    admin: formatAddress(server.admin),
    drain: formatDuration(server.drain)
  },
  storage: storageSettingsOf(others.storage),
  auth: auth.users ? { ...auth, users: { file: auth.users.file, roles: { ...auth.users.roles } } } : auth,
  limits: {
    ...limits,
    uploadIdle: formatDuration(limits.uploadIdle),
    minimumRate: { bytes: limits.minimumRate.bytes, per: formatDuration(limits.minimumRate.per) }
  },
  cache: {
    ...cache,
    tagTTL: formatDuration(cache.tagTTL),
    negativeTTL: formatDuration(cache.negativeTTL),
    metadataTTL: formatDuration(cache.metadataTTL)
  },
  gc: {
    untagged: gc.untagged === undefined ? 'keep' : formatDuration(gc.untagged),
    grace: formatDuration(gc.grace),
    every: formatDuration(gc.every)
  },
  scrub: { every: formatDuration(scrub.every) },
  upstream: {
    ...upstream,
    connectTimeout: formatDuration(upstream.connectTimeout),
    headerTimeout: formatDuration(upstream.headerTimeout),
    bodyTimeout: formatDuration(upstream.bodyTimeout),
    // Written down even where there is none, for the environment not to put one in.
    proxy: { http: '', https: '', none: '', ...upstream.proxy }
  },
  log: others.log
})

const storageIn = (
  { filesystem, s3, budget, inodeBudget, reserve, inodeReserve }: Settings['storage'],
  root: string,
  folder: string
): Config['storage'] => ({
  ...(s3 && { s3: s3In(s3, folder) }),
  filesystem: { root, ...rateIn('writeLimit', filesystem.writeLimit) },
  ...(budget !== undefined && { budget: valid(parseSpace(budget)) }),
  ...(inodeBudget !== undefined && { inodeBudget: valid(parseInodes(inodeBudget)) }),
  reserve: valid(parseSpace(reserve)),
  inodeReserve: valid(parseInodes(inodeReserve))
})

const storageSettingsOf = ({ filesystem, s3, ...limits }: Config['storage']): Record<string, unknown> => ({
  ...(s3 ? { s3: s3SettingsOf(s3) } : { filesystem }),
  ...shares(limits)
})

const shares = (limits: Omit<Config['storage'], 'filesystem' | 's3'>): Record<string, string | number> =>
  Object.fromEntries(Object.entries<SpaceLimit>(limits).map(([key, share]) => [key, formatShare(share)]))

const upstreamIn = ({ proxy = {}, ...upstream }: Settings['upstream']): Config['upstream'] => {
  const [http, https] = [proxy.http && parseProxy(proxy.http), proxy.https && parseProxy(proxy.https)]
  return {
    connections: upstream.connections,
    connectTimeout: valid(parseDuration(upstream.connectTimeout)),
    headerTimeout: valid(parseDuration(upstream.headerTimeout)),
    bodyTimeout: valid(parseDuration(upstream.bodyTimeout)),
    fills: upstream.fills,
    tokenHosts: upstream.tokenHosts.map(host => valid(parseHost(host))),
    ...((http || https) && { proxy: { ...(http && { http }), ...(https && { https }), ...(proxy.none && { none: proxy.none }) } })
  }
}

const rateIn = <K extends string>(key: K, rate: string | number | undefined): { [each in K]?: number } =>
  (rate === undefined ? {} : { [key]: valid(parseBytes(rate)) }) as { [each in K]?: number }

const tlsIn = ({ certificate, key, clientCA }: NonNullable<Settings['server']['tls']>, folder: string) => ({
  certificate: resolve(folder, certificate),
  key: resolve(folder, key),
  ...(clientCA !== undefined && { clientCA: resolve(folder, clientCA) })
})

const authIn = ({ users, anonymous }: NonNullable<Settings['auth']>, folder: string) => ({
  ...(users && { users: { file: resolve(folder, users.file), roles: withoutPrototype(Object.entries(users.roles)) } }),
  anonymous
})

const freeze = <T extends object>(value: T): T => {
  for (const inside of Object.values(value)) {
    if (typeof inside === 'object' && inside !== null) freeze(inside)
  }
  return Object.freeze(value)
}
