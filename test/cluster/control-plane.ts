import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Test } from 'tap'
import { must } from '../e2e/command.ts'
import type { Daemon } from '../e2e/daemon.ts'
import { startDaemon } from '../e2e/daemon.ts'
import { temporaryFolder } from '../e2e/place.ts'
import { until } from '../src/support.ts'
import { Api } from './api.ts'
import type { Certificate } from './authority.ts'
import { Authority } from './authority.ts'
import { layBridge, testAddress } from './network.ts'

const apiPort = 6443
const etcdUrl = 'http://127.0.0.1:2379'
const services = '10.214.0.0/16'
const firstService = '10.214.0.1'
// Beside other work a first start has taken most of a minute.
const limit = 180_000

/** The commands of an API server, and those that turn DaemonSets and Deployments into pods. */
export const controlPlaneTools = {
  api: ['etcd', 'kube-apiserver', 'openssl'],
  controllers: ['kube-controller-manager', 'kube-scheduler']
} as const

/**
 * etcd and a kube-apiserver with TLS, RBAC, NodeRestriction and service accounts, on the network of the hosts. They are
 * processes beside the test and not on a host: what a test does to its hosts does not concern them.
 */
export class ControlPlane {
  readonly url = `https://${testAddress}:${apiPort}`
  readonly authority: Authority
  /** The API as a member of `system:masters`. */
  readonly admin: Api
  readonly #folder: string
  readonly #server: Daemon

  private constructor(folder: string, authority: Authority, admin: Api, server: Daemon) {
    this.#folder = folder
    this.authority = authority
    this.admin = admin
    this.#server = server
  }

  /** Starts etcd and the API server; they end with the test. */
  static async start(t: Test): Promise<ControlPlane> {
    await layBridge()
    const folder = await temporaryFolder(t)
    const authority = await Authority.create(folder, 'ca')
    const flags = await serverFlags(folder, authority)
    const etcd = await startEtcd(folder)
    t.teardown(() => etcd.stop())
    const user = await authority.sign('admin', { subject: '/O=system:masters/CN=admin', usage: 'clientAuth' })
    const admin = await Api.connect(`https://${testAddress}:${apiPort}`, authority.certificate, user)
    t.teardown(() => admin.close())
    const ready = async () => {
      const { status, body } = await admin.text('/readyz')
      if (status !== 200) throw new Error(body)
    }
    const server = await startDaemon({ ...mortal('kube-apiserver', flags), probe: ready, limit })
    t.teardown(() => server.stop())
    return new ControlPlane(folder, authority, admin, server)
  }

  /** Starts what turns DaemonSets and Deployments into pods on nodes, and gives out service accounts. */
  async startControllers(t: Test): Promise<void> {
    const common = ['--leader-elect=false', '--bind-address=127.0.0.1']
    const manager = await this.kubeconfig('controller-manager', '/CN=system:kube-controller-manager')
    const flags = [
      ...['--use-service-account-credentials', `--service-account-private-key-file=${join(this.#folder, 'sa.key')}`],
      ...[`--root-ca-file=${this.authority.certificate}`, `--service-cluster-ip-range=${services}`]
    ]
    await this.#startClient(t, 'kube-controller-manager', [...common, ...flags], manager)
    await this.#startClient(t, 'kube-scheduler', common, await this.kubeconfig('scheduler', '/CN=system:kube-scheduler'))
    await until(() => this.admin.find('/api/v1/namespaces/default/serviceaccounts/default'))
  }

  /** Writes the kubeconfig of a new user with this subject. */
  async kubeconfig(name: string, subject: string): Promise<string> {
    const { certificate, key } = await this.authority.sign(name, { subject, usage: 'clientAuth' })
    const path = join(this.#folder, `${name}.kubeconfig`)
    const config = {
      apiVersion: 'v1',
      kind: 'Config',
      'current-context': 'it',
      clusters: [{ name: 'it', cluster: { server: this.url, 'certificate-authority': this.authority.certificate } }],
      users: [{ name: 'it', user: { 'client-certificate': certificate, 'client-key': key } }],
      contexts: [{ name: 'it', context: { cluster: 'it', user: 'it' } }]
    }
    await writeFile(path, JSON.stringify(config))
    return path
  }

  /** Stops the API server in the middle of what it does, or lets it go on: to its clients it has fallen silent. */
  freeze(state: 'frozen' | 'thawed'): void {
    process.kill(this.#server.pid, state === 'frozen' ? 'SIGSTOP' : 'SIGCONT')
  }

  async #startClient(t: Test, command: string, flags: readonly string[], kubeconfig: string): Promise<void> {
    const access = ['kubeconfig', 'authentication-kubeconfig', 'authorization-kubeconfig'].map(flag => `--${flag}=${kubeconfig}`)
    const daemon = await startDaemon({ ...mortal(command, [...flags, ...access]), probe: async () => undefined })
    t.teardown(() => daemon.stop())
  }
}

// A test that is killed takes them along.
function mortal(command: string, args: readonly string[]): { command: string; args: string[] } {
  return { command: 'setpriv', args: ['--pdeathsig', 'KILL', command, ...args] }
}

async function startEtcd(folder: string): Promise<Daemon> {
  const peers = 'http://127.0.0.1:2380'
  const places = [`--data-dir=${join(folder, 'etcd')}`, `--listen-client-urls=${etcdUrl}`, `--advertise-client-urls=${etcdUrl}`]
  const probe = async () => {
    if (!(await fetch(`${etcdUrl}/health`)).ok) throw new Error('etcd is not healthy')
  }
  // Nothing of it has to survive the machine.
  return await startDaemon({ ...mortal('etcd', [...places, `--listen-peer-urls=${peers}`, '--unsafe-no-fsync']), probe, limit })
}

async function serverFlags(folder: string, authority: Authority): Promise<string[]> {
  const file = (name: string) => join(folder, name)
  await must('openssl', ['genrsa', '-out', file('sa.key'), '2048'])
  await must('openssl', ['rsa', '-in', file('sa.key'), '-pubout', '-out', file('sa.pub')])
  await mkdir(file('front'))
  const front = await Authority.create(file('front'), 'front-proxy-ca')
  const names = ['kubernetes', 'kubernetes.default', 'kubernetes.default.svc', 'localhost'].map(name => `DNS:${name}`)
  const addresses = ['127.0.0.1', testAddress, firstService].map(address => `IP:${address}`)
  const served = { subject: '/CN=kube-apiserver', usage: 'serverAuth', names: [...names, ...addresses].join() } as const
  const server = await authority.sign('apiserver', served)
  const kubelets = await authority.sign('kubelets', { subject: '/O=system:masters/CN=apiserver-kubelet-client', usage: 'clientAuth' })
  const proxy = await front.sign('front-proxy-client', { subject: '/CN=front-proxy-client', usage: 'clientAuth' })
  return flagsOf({
    'etcd-servers': etcdUrl,
    'bind-address': '0.0.0.0',
    'advertise-address': testAddress,
    'secure-port': String(apiPort),
    ...pair('tls-cert-file', 'tls-private-key-file', server),
    'client-ca-file': authority.certificate,
    'authorization-mode': 'Node,RBAC',
    'enable-admission-plugins': 'NodeRestriction',
    'allow-privileged': 'true',
    'service-account-issuer': 'https://kubernetes.default.svc.cluster.local',
    'service-account-key-file': file('sa.pub'),
    'service-account-signing-key-file': file('sa.key'),
    'service-cluster-ip-range': services,
    ...pair('kubelet-client-certificate', 'kubelet-client-key', kubelets),
    'kubelet-certificate-authority': authority.certificate,
    'kubelet-preferred-address-types': 'InternalIP',
    'requestheader-client-ca-file': front.certificate,
    'requestheader-allowed-names': 'front-proxy-client',
    'requestheader-extra-headers-prefix': 'X-Remote-Extra-',
    'requestheader-group-headers': 'X-Remote-Group',
    'requestheader-username-headers': 'X-Remote-User',
    ...pair('proxy-client-cert-file', 'proxy-client-key-file', proxy),
    profiling: 'false'
  })
}

const pair = (certificateFlag: string, keyFlag: string, { certificate, key }: Certificate): Record<string, string> => ({
  [certificateFlag]: certificate,
  [keyFlag]: key
})

const flagsOf = (settings: Readonly<Record<string, string>>): string[] =>
  Object.entries(settings).map(([name, value]) => `--${name}=${value}`)
