import { stringify } from 'yaml'
import { until } from '../src/support.ts'
import type { ControlPlane } from './control-plane.ts'
import type { Host } from './host.ts'
import type { Process } from './process.ts'

const file = '/var/lib/kubelet/config.yaml'
const controlPlaneRole = 'node-role.kubernetes.io/control-plane'

/** What a node is; a worker where nothing is said. */
export interface KubeletOptions {
  role?: 'control-plane' | 'worker'
}

/** A kubelet on a host, and with it a node of the cluster. */
export class Kubelet {
  readonly #host: Host
  readonly #flags: readonly string[]
  #process: Process | undefined

  private constructor(host: Host, flags: readonly string[]) {
    this.#host = host
    this.#flags = flags
  }

  /** Starts it on a host with containerd; resolves when its node is ready. */
  static async start(host: Host, controlPlane: ControlPlane, { role = 'worker' }: KubeletOptions = {}): Promise<Kubelet> {
    const subject = `/O=system:nodes/CN=system:node:${host.name}`
    const kubeconfig = await controlPlane.kubeconfig(`kubelet-${host.name}`, subject)
    const names = `DNS:${host.name},IP:${host.address}`
    const { certificate, key } = await controlPlane.authority.sign(`kubelet-${host.name}-server`, { subject, usage: 'serverAuth', names })
    await host.write(file, stringify({ ...settings(host, controlPlane), tlsCertFile: certificate, tlsPrivateKeyFile: key }))
    const taints = role === 'control-plane' ? [`--register-with-taints=${controlPlaneRole}=:NoSchedule`] : []
    const identity = [`--hostname-override=${host.name}`, `--node-ip=${host.address}`]
    const kubelet = new Kubelet(host, [`--config=${file}`, `--kubeconfig=${kubeconfig}`, ...identity, ...taints])
    await kubelet.run()
    const node = `/api/v1/nodes/${host.name}`
    await kubelet.#process?.while(until(async () => isReady(await controlPlane.admin.find(node))))
    // NodeRestriction keeps a kubelet from giving itself this label.
    if (role === 'control-plane') await controlPlane.admin.patch(node, { metadata: { labels: { [controlPlaneRole]: '' } } })
    return kubelet
  }

  /** Starts it with what it had before: after `stop`, or after the host was off. */
  async run(): Promise<void> {
    this.#process = await this.#host.start('kubelet', 'kubelet', this.#flags)
    await this.#process.while(until(() => this.#host.run('curl', ['-sf', 'http://127.0.0.1:10248/healthz']).catch(() => undefined)))
  }

  /** Ends it; its pods go on. */
  async stop(signal?: 'SIGTERM' | 'SIGKILL'): Promise<void> {
    await this.#process?.stop(signal)
  }

  /** What it has written. */
  async log(): Promise<string> {
    return (await this.#process?.log()) ?? ''
  }
}

/** Whether a Node or a Pod says that it is ready. */
export function isReady(object: { status?: { conditions?: readonly { type: string; status: string }[] } } | undefined): boolean {
  return object?.status?.conditions?.some(({ type, status }) => type === 'Ready' && status === 'True') ?? false
}

function settings(host: Host, controlPlane: ControlPlane): object {
  return {
    apiVersion: 'kubelet.config.k8s.io/v1beta1',
    kind: 'KubeletConfiguration',
    authentication: {
      anonymous: { enabled: false },
      webhook: { enabled: true },
      x509: { clientCAFile: controlPlane.authority.certificate }
    },
    authorization: { mode: 'Webhook' },
    staticPodPath: '/etc/kubernetes/manifests',
    containerRuntimeEndpoint: 'unix:///run/containerd/containerd.sock',
    cgroupDriver: 'cgroupfs',
    cgroupRoot: host.cgroup,
    failSwapOn: false,
    // Where CAP_SYS_RESOURCE is missing, it cannot be lowered.
    oomScoreAdj: 0,
    resolvConf: '/run/resolv.conf',
    clusterDomain: 'cluster.local',
    // The disk is that of the machine, with everything else that is on it.
    evictionHard: { 'memory.available': '100Mi', 'nodefs.available': '1%', 'imagefs.available': '1%', 'nodefs.inodesFree': '1%' },
    imageGCHighThresholdPercent: 99,
    imageGCLowThresholdPercent: 98,
    // What takes up to a minute with the defaults.
    fileCheckFrequency: '2s',
    syncFrequency: '10s',
    nodeStatusUpdateFrequency: '4s',
    nodeStatusReportFrequency: '10s'
  }
}
