import { stringify } from 'yaml'
import type { UpstreamParams } from '../settings/params.ts'
import { hashOf } from './hash.ts'
import type { ClusterPki, ProxyMaterial } from './material.ts'
import { names } from './names.ts'

/** The folder in which the in-cluster proxy finds the files of its Secret. */
export const proxyFolder = '/config'

/** The in-cluster proxy: the files of Secret `registry-incluster-proxy-config`, by name, and their version. */
export interface ProxyConfig {
  files: Readonly<Record<string, string>>
  version: string
}

/**
 * The configuration of a registry in Direct whose only user is that of the upstream. Without one, pulls are anonymous
 * here as they are there.
 */
export function proxyConfig(upstream: UpstreamParams, { ca }: ClusterPki, material: ProxyMaterial): ProxyConfig {
  const { imagesRepo, scheme, username, password, ca: upstreamCa } = upstream
  const file = (name: string) => `${proxyFolder}/${name}`
  const anonymous = username === ''
  const account = anonymous ? {} : { username, passwordFile: file('upstream-password') }
  const users = { file: file('htpasswd'), roles: anonymous ? {} : { [username]: ['pull'] } }
  const config = {
    registry: {
      mode: 'Direct',
      direct: {
        imagesRepo,
        scheme: scheme.toUpperCase(),
        ...account,
        ...(upstreamCa === undefined ? {} : { caFile: file('upstream-ca.crt') })
      }
    },
    server: {
      listen: `0.0.0.0:${names.port}`,
      tls: { certificate: file('tls.crt'), key: file('tls.key') },
      admin: '0.0.0.0:5002',
      control: '/run/registry/control.sock'
    },
    storage: { filesystem: { root: '/run/registry/data' } },
    auth: anonymous ? { anonymous: ['pull'] } : { users }
  }
  const files = {
    'config.yaml': stringify(config, { lineWidth: 0, aliasDuplicateObjects: false }),
    'ca.crt': ca.cert,
    'tls.crt': material.certificate.cert,
    'tls.key': material.certificate.key,
    ...(anonymous ? {} : { htpasswd: `${username}:${material.passwordHash}\n`, 'upstream-password': password }),
    ...(upstreamCa === undefined ? {} : { 'upstream-ca.crt': upstreamCa })
  }
  return { files, version: hashOf(files) }
}
