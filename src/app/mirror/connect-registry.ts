import { readFile } from 'node:fs/promises'
import { type Environment, variable } from '../../../config/environment.ts'
import { Upstream } from '../../upstream/upstream.ts'

/** Another registry as the command line names it. */
export interface RegistryAddress {
  /** `<host>[:<port>]` */
  host: string
  scheme: 'http' | 'https'
  /** A file with the authority of its certificate, in PEM. */
  caFile?: string | undefined
  credentials?: { username: string; password: string } | undefined
  /** Hosts of token services, and of redirects whose address is not public. */
  otherHosts?: readonly string[] | undefined
  /** Requests at once. */
  atOnce: number
}

const minute = 60_000

/**
 * Connects to a registry. Proxies are those of the environment: HTTP_PROXY, HTTPS_PROXY, NO_PROXY. Its owner closes it.
 */
export async function connectRegistry(
  { host, scheme, caFile, credentials, otherHosts = [], atOnce }: RegistryAddress,
  env: Environment = process.env
): Promise<Upstream> {
  const ca = caFile === undefined ? {} : { ca: await readFile(caFile, 'utf8') }
  const [http, https, none] = ['HTTP_PROXY', 'HTTPS_PROXY', 'NO_PROXY'].map(name => variable(env, name))
  const proxy = http || https ? { proxy: { ...(http && { http }), ...(https && { https }), ...(none && { none }) } } : {}
  return new Upstream({
    endpoints: [new URL(`${scheme}://${host}`)],
    ...(credentials ? { credentials } : {}),
    ...ca,
    ...proxy,
    tokenHosts: otherHosts,
    redirectHosts: otherHosts,
    revalidate: 'get',
    // A registry may verify a large blob before it answers.
    limits: { connections: Math.max(8, atOnce), connectTimeout: 10_000, headerTimeout: 10 * minute, bodyTimeout: minute }
  })
}
