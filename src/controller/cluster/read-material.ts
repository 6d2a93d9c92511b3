import { parse } from 'yaml'
import { isMapping } from '../../../config/read/walk.ts'
import { decodeSecret, type KubernetesObject } from '../../kubernetes/object.ts'
import type { CertificateWithKey, ClusterMaterial, ClusterPki, ClusterUser, NodeCertificates, ProxyMaterial } from '../objects/material.ts'
import { names } from '../objects/names.ts'

/**
 * The keys, certificates and passwords in the Secrets of the namespace, whether or not they are still good. A Secret
 * that lacks a part counts as none: what is generated in its place replaces it.
 */
export function readMaterial(secrets: ReadonlyMap<string, KubernetesObject>, addresses: ReadonlyMap<string, string>): ClusterMaterial {
  const values = (name: string): Record<string, string> => {
    const secret = secrets.get(name)
    return secret ? decodeSecret(secret) : {}
  }
  const pki = pkiOf(values(names.secrets.pki))
  const proxy = proxyOf(values(names.secrets.inClusterProxy))
  const users: Record<string, ClusterUser> = {}
  const nodes: Record<string, NodeCertificates> = {}
  for (const name of secrets.keys()) {
    const user = after(name, names.secrets.userPrefix)
    const found = user === undefined ? undefined : userOf(values(name))
    if (user !== undefined && found) users[user] = found
    const node = after(name, names.secrets.nodePrefix)
    const certificates = node === undefined ? undefined : nodeOf(values(name), addresses.get(node))
    if (node !== undefined && certificates) nodes[node] = certificates
  }
  return { users, nodes, ...(pki ? { pki } : {}), ...(proxy ? { proxy } : {}) }
}

function after(name: string, prefix: string): string | undefined {
  return name.startsWith(prefix) ? name.slice(prefix.length) : undefined
}

function pair(cert: unknown, key: unknown): CertificateWithKey | undefined {
  return typeof cert === 'string' && typeof key === 'string' && cert !== '' && key !== '' ? { cert, key } : undefined
}

function pkiOf(values: Record<string, string>): ClusterPki | undefined {
  const [ca, token] = [pair(values['ca.crt'], values['ca.key']), pair(values['token.crt'], values['token.key'])]
  return ca && token && { ca, token }
}

function userOf({ name, password, passwordHash }: Record<string, string>): ClusterUser | undefined {
  return name && password && passwordHash ? { name, password, passwordHash } : undefined
}

function nodeOf({ config = '' }: Record<string, string>, address: string | undefined): NodeCertificates | undefined {
  if (address === undefined) return undefined
  let found: unknown
  try {
    found = parse(config)
  } catch {
    return undefined
  }
  if (!isMapping(found)) return undefined
  const auth = pair(found['auth_cert'], found['auth_key'])
  const distribution = pair(found['distribution_cert'], found['distribution_key'])
  return auth && distribution && { address, auth, distribution }
}

function proxyOf(values: Record<string, string>): ProxyMaterial | undefined {
  const certificate = pair(values['tls.crt'], values['tls.key'])
  const { htpasswd = '', 'upstream-password': password = '' } = values
  return certificate && { certificate, password, passwordHash: htpasswd.trimEnd().slice(htpasswd.indexOf(':') + 1) }
}
