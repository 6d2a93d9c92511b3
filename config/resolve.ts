import { join } from 'node:path'
import { settingsTable } from './compiled.ts'
import { freeze, typed, written } from './read/convert.ts'
import { registryIn, registrySettingsOf } from './resolve-registry.ts'
import type { Config, S3Config, Settings, TypedSettings } from './schema.ts'

const EVERYTHING: Config['auth']['anonymous'] = ['pull', 'push', 'delete']

/** The effective configuration of validated settings; relative paths start at `folder`. */
export const resolveSettings = (settings: Settings, folder: string): Config => {
  const { registry, server, storage, auth, upstream, ...others } = typed(settingsTable, settings, folder) as TypedSettings
  const { s3, ...withoutS3 } = storage
  const { proxy, ...withoutProxy } = upstream
  const ownFolder = s3 ? s3.spool : join(storage.filesystem.root, '.registry')
  return freeze({
    ...others,
    registry: registryIn(registry),
    server: { ...server, control: server.control ?? join(ownFolder, 'control.sock') },
    storage: { ...(s3 && { s3: s3In(s3) }), ...withoutS3 },
    auth: auth ?? { anonymous: EVERYTHING },
    upstream: { ...withoutProxy, ...((proxy?.http || proxy?.https) && { proxy: proxyIn(proxy) }) }
  })
}

/** The settings that resolve to this configuration, in the file's notation. */
export const settingsOf = ({ registry, storage, upstream, ...others }: Config): Record<keyof Config, unknown> => {
  const { filesystem, ...withoutFilesystem } = storage
  return written(settingsTable, {
    registry: registrySettingsOf(registry),
    storage: storage.s3 ? withoutFilesystem : storage,
    // Present even without a proxy, so that the environment does not add one.
    upstream: { ...upstream, proxy: { http: '', https: '', none: '', ...upstream.proxy } },
    ...others
  }) as Record<keyof Config, unknown>
}

const s3In = ({ credentials, ...s3 }: NonNullable<TypedSettings['storage']['s3']>): S3Config => {
  const { file, accessKeyId, secretAccessKey } = credentials ?? {}
  if (file !== undefined) return { ...s3, credentials: { file } }
  return accessKeyId !== undefined && secretAccessKey !== undefined ? { ...s3, credentials: { accessKeyId, secretAccessKey } } : s3
}

const proxyIn = ({ http, https, none }: NonNullable<TypedSettings['upstream']['proxy']>) => ({
  ...(http && { http }),
  ...(https && { https }),
  ...(none && { none })
})
