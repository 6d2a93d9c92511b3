import { type Address, parseAddress } from '../../config/values/units.ts'
import { type ClusterAccess, podAccess, readKubeconfig, UnusableAccess } from '../kubernetes/kubeconfig.ts'
import { WrongUse } from './run-operation.ts'

/** What the command line of `registry controller` says. */
export interface ControllerFlags {
  image: string
  kubeconfig?: string
  context?: string
  admin: string
  cloud?: true
  logLevel: string
}

const environmentFile = 'KUBECONFIG'

/** How the API server is reached: by a kubeconfig, or in a Pod by its service account. */
export function clusterAccess({ kubeconfig, context }: Pick<ControllerFlags, 'kubeconfig' | 'context'>): ClusterAccess {
  const { env } = process
  const file = kubeconfig ?? env[environmentFile]
  if (file) return readKubeconfig(file, context)
  const access = podAccess(env)
  if (access) return access
  throw new UnusableAccess('this is no Pod: name a kubeconfig by --kubeconfig FILE, or by the variable KUBECONFIG')
}

/** The address of `--admin`. */
export function adminAddress(text: string): Address {
  const address = parseAddress(text)
  if (!address) throw new WrongUse(`--admin: expected host:port such as 0.0.0.0:5004, found ${JSON.stringify(text.slice(0, 100))}`)
  return address
}

/** The proxies of the environment, by which upstreams are checked. */
export function proxyOfEnvironment(): { http?: string; https?: string; none?: string } {
  const of = (name: string) => process.env[name] || process.env[name.toLowerCase()]
  const [http, https, none] = [of('HTTP_PROXY'), of('HTTPS_PROXY'), of('NO_PROXY')]
  return { ...(http ? { http } : {}), ...(https ? { https } : {}), ...(none ? { none } : {}) }
}
