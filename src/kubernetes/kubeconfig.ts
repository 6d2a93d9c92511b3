import { readFileSync } from 'node:fs'
import { dirname, resolve } from 'node:path'
import { parse } from 'yaml'

/** How the API server is reached, and as whom. */
export interface ClusterAccess {
  server: string
  ca?: string | undefined
  /** A client certificate and its key, in PEM. */
  cert?: string | undefined
  key?: string | undefined
  /** Read again for each request, since the kubelet replaces it. */
  tokenFile?: string | undefined
  token?: string | undefined
  namespace?: string | undefined
}

interface Named<K extends string> {
  name?: string
  value?: Record<string, string | undefined> & Partial<Record<K, unknown>>
}

/** The access cannot be used; the message says what to do. */
export class UnusableAccess extends Error {
  // Ends a command as a wrong configuration does.
  override readonly name = 'ConfigError'
}

/** Reads a kubeconfig (Kubernetes documentation, "Organizing Cluster Access Using kubeconfig Files"). */
export function readKubeconfig(file: string, wanted?: string): ClusterAccess {
  let found: Record<string, unknown>
  try {
    found = parse(readFileSync(file, 'utf8')) as Record<string, unknown>
  } catch (error) {
    throw new UnusableAccess(`${file}: cannot be read as a kubeconfig: ${(error as Error).message.split('\n')[0]}`)
  }
  const name = wanted ?? found?.['current-context']
  const context = entry(found, 'contexts', 'context', name, file)
  const cluster = entry(found, 'clusters', 'cluster', context['cluster'], file)
  const user = entry(found, 'users', 'user', context['user'], file)
  if (user['exec'] || user['auth-provider'])
    throw new UnusableAccess(
      `${file}: user ${context['user']} gets its credentials from a program, which is not supported: use a token or a certificate`
    )
  if (cluster['insecure-skip-tls-verify'] === true)
    throw new UnusableAccess(`${file}: insecure-skip-tls-verify is not supported: give certificate-authority`)
  const server = String(cluster['server'] ?? '')
  if (!URL.canParse(server)) throw new UnusableAccess(`${file}: the cluster of context ${name} has no server`)
  const pem = (holder: Record<string, unknown>, key: string) => pemOf(holder, key, file)
  return {
    server,
    ca: pem(cluster, 'certificate-authority'),
    cert: pem(user, 'client-certificate'),
    key: pem(user, 'client-key'),
    ...(typeof user['token'] === 'string' ? { token: user['token'] } : {}),
    ...(typeof user['tokenFile'] === 'string' ? { tokenFile: resolve(dirname(file), user['tokenFile']) } : {}),
    ...(typeof context['namespace'] === 'string' ? { namespace: context['namespace'] } : {})
  }
}

const serviceAccount = '/var/run/secrets/kubernetes.io/serviceaccount'

/** The access of a Pod by its service account; undefined outside a Pod. */
export function podAccess(env: Readonly<Record<string, string | undefined>>, folder = serviceAccount): ClusterAccess | undefined {
  const { KUBERNETES_SERVICE_HOST: host, KUBERNETES_SERVICE_PORT: port = '443' } = env
  if (!host) return undefined
  const server = `https://${host.includes(':') ? `[${host}]` : host}:${port}`
  return { server, ca: readFileSync(`${folder}/ca.crt`, 'utf8'), tokenFile: `${folder}/token` }
}

function entry(
  found: Record<string, unknown> | undefined,
  list: string,
  key: string,
  name: unknown,
  file: string
): Record<string, unknown> {
  const all = found?.[list]
  const one = Array.isArray(all) ? (all as Named<string>[]).find(each => each?.name === name) : undefined
  const value = (one as Record<string, unknown> | undefined)?.[key]
  if (typeof value !== 'object' || value === null) throw new UnusableAccess(`${file}: ${list} has no entry ${JSON.stringify(name ?? '')}`)
  return value as Record<string, unknown>
}

function pemOf(holder: Record<string, unknown>, key: string, file: string): string | undefined {
  const inline = holder[`${key}-data`]
  if (typeof inline === 'string' && inline !== '') return Buffer.from(inline, 'base64').toString()
  const path = holder[key]
  if (typeof path !== 'string' || path === '') return undefined
  try {
    return readFileSync(resolve(dirname(file), path), 'utf8')
  } catch (error) {
    throw new UnusableAccess(`${file}: ${key}: ${(error as Error).message}`)
  }
}
