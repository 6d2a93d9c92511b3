import { join, resolve } from 'node:path'
import type { Action, Config, Settings } from './schema.ts'
import { formatAddress, formatDuration, parseAddress, parseBytes, parseDuration } from './units.ts'

const EVERYTHING: readonly Action[] = ['pull', 'push', 'delete']

/** The effective configuration of validated settings; relative paths start at `folder`. */
export const resolveSettings = (settings: Settings, folder: string): Config => {
  const { registry, server, storage, auth, limits, log } = settings
  const root = resolve(folder, storage.filesystem.root)
  return freeze({
    registry: { mode: registry.mode },
    server: {
      listen: valid(parseAddress(server.listen)),
      names: server.names,
      path: server.path,
      ...(server.tls && { tls: tlsIn(server.tls, folder) }),
      admin: valid(parseAddress(server.admin)),
      control: server.control === undefined ? join(root, '.registry', 'control.sock') : resolve(folder, server.control),
      forwarders: server.forwarders,
      drain: valid(parseDuration(server.drain))
    },
    storage: { filesystem: { root } },
    auth: auth ? authIn(auth, folder) : { anonymous: EVERYTHING },
    limits: {
      manifestBytes: valid(parseBytes(limits.manifestBytes)),
      uploadIdle: valid(parseDuration(limits.uploadIdle)),
      minimumRate: { bytes: valid(parseBytes(limits.minimumRate.bytes)), per: valid(parseDuration(limits.minimumRate.per)) },
      connections: limits.connections,
      uploads: limits.uploads
    },
    log: { level: log.level }
  })
}

/** The settings that resolve to this configuration, in the file's notation. */
export const settingsOf = ({ server, auth, limits, ...others }: Config): Record<keyof Config, unknown> => ({
  registry: others.registry,
  server: {
    ...server,
    listen: formatAddress(server.listen),
    admin: formatAddress(server.admin),
    drain: formatDuration(server.drain)
  },
  storage: others.storage,
  auth: auth.users ? { ...auth, users: { file: auth.users.file, roles: { ...auth.users.roles } } } : auth,
  limits: {
    ...limits,
    uploadIdle: formatDuration(limits.uploadIdle),
    minimumRate: { bytes: limits.minimumRate.bytes, per: formatDuration(limits.minimumRate.per) }
  },
  log: others.log
})

const tlsIn = ({ certificate, key, clientCA }: NonNullable<Settings['server']['tls']>, folder: string) => ({
  certificate: resolve(folder, certificate),
  key: resolve(folder, key),
  ...(clientCA !== undefined && { clientCA: resolve(folder, clientCA) })
})

const authIn = ({ users, anonymous }: NonNullable<Settings['auth']>, folder: string) => ({
  ...(users && { users: { file: resolve(folder, users.file), roles: withoutPrototype(users.roles) } }),
  anonymous
})

// A user may be called "constructor", and must not find a role there.
const withoutPrototype = <T>(record: Record<string, T>): Record<string, T> => {
  const bare: Record<string, T> = Object.create(null)
  for (const [key, value] of Object.entries(record)) bare[key] = value
  return bare
}

const valid = <T>(value: T | undefined): T => {
  if (value === undefined) throw new Error('settings are resolved only after they were validated')
  return value
}

const freeze = <T extends object>(value: T): T => {
  for (const inside of Object.values(value)) {
    if (typeof inside === 'object' && inside !== null) freeze(inside)
  }
  return Object.freeze(value)
}
