import type { Test } from 'tap'
import type { Containerd } from '../e2e/containerd.ts'
import { containerd2 as latest, host as registryName, containerd1 as stable } from '../e2e/containerd.ts'
import { hasTools, pathOf } from '../e2e/tool.ts'
import { until } from '../src/support.ts'
import type { Host } from './host.ts'
import { ownImage, pauseImage, writePauseArchive } from './images.ts'
import type { Process } from './process.ts'

/** One version of containerd, as hosts have it. */
export interface ContainerdVersion extends Pick<Containerd, 'title' | 'daemon' | 'client'> {
  /** Other commands that it needs. */
  more: readonly string[]
  config: () => string
}

const socket = '/run/containerd/containerd.sock'
const file = '/etc/containerd/config.toml'
const hostsFolder = '/etc/containerd/certs.d'
// Where CAP_SYS_RESOURCE is missing, oom_score_adj cannot be lowered, and the pause container of each pod asks for that.
const clamped = 'restrict_oom_score_adj = true'

/** Debian's containerd. */
export const containerd1: ContainerdVersion = {
  ...stable,
  more: ['containerd-shim-runc-v2'],
  config: () => `version = 2
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "${pauseImage}"
  ${clamped}
[plugins."io.containerd.grpc.v1.cri".registry]
  config_path = "${hostsFolder}"
[plugins."io.containerd.grpc.v1.cri".cni]
  bin_dir = "/opt/cni/bin"
`
}

/** containerd 2 with its own shim. */
export const containerd2: ContainerdVersion = {
  ...latest,
  more: ['shim2'],
  config: () => `version = 3
[plugins."io.containerd.cri.v1.images".pinned_images]
  sandbox = "${pauseImage}"
[plugins."io.containerd.cri.v1.images".registry]
  config_path = "${hostsFolder}"
[plugins."io.containerd.cri.v1.runtime"]
  ${clamped}
[plugins."io.containerd.cri.v1.runtime".cni]
  bin_dirs = ["/opt/cni/bin"]
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
  runtime_path = "${pathOf('shim2')}"
`
}

/** False, having marked the test as skipped, where hosts with this containerd cannot be had. */
export function hasContainerd(t: Test, version: ContainerdVersion, ...more: readonly string[]): boolean {
  return hasTools(t, version.daemon, version.client, ...version.more, 'runc', 'pause', 'crictl', ...more)
}

// A kubelet is not ready without a network for pods; those of the tests are on the network of their host.
const podNetwork = {
  cniVersion: '0.4.0',
  name: 'pods',
  plugins: [{ type: 'bridge', bridge: 'cni0', isGateway: true, ipam: { type: 'host-local', ranges: [[{ subnet: '10.215.0.0/24' }]] } }]
}

/** An image of the CRI (`Image` in its API). */
export interface CriImage {
  repoTags: readonly string[]
  repoDigests: readonly string[]
  pinned: boolean
}

/** containerd on a host. */
export class HostContainerd {
  readonly host: Host
  readonly version: ContainerdVersion
  #process: Process | undefined

  private constructor(host: Host, version: ContainerdVersion) {
    this.host = host
    this.version = version
  }

  /** Starts it with nothing but the image of pause containers. */
  static async start(host: Host, version: ContainerdVersion): Promise<HostContainerd> {
    await host.write(file, version.config())
    await host.write('/etc/cni/net.d/10-pods.conflist', JSON.stringify(podNetwork))
    await host.write('/etc/crictl.yaml', `runtime-endpoint: unix://${socket}\nimage-endpoint: unix://${socket}\ntimeout: 120\n`)
    const containerd = new HostContainerd(host, version)
    await containerd.run()
    await writePauseArchive(host.path('/run/pause.tar'))
    await containerd.ctr('images', 'import', '/run/pause.tar')
    return containerd
  }

  /** Starts it with what it had before: after `stop`, or after the host was off. */
  async run(): Promise<void> {
    this.#process = await this.host.start('containerd', this.version.daemon, ['--config', file])
    // Of crictl, since the CRI is the last of it that answers.
    await this.#process.while(until(() => this.crictl('version').catch(() => undefined)))
  }

  /** Ends it; its containers go on. */
  async stop(signal?: 'SIGTERM' | 'SIGKILL'): Promise<void> {
    await this.#process?.stop(signal)
  }

  /** Imports the image of the registry as the README says. */
  async importOwnImage(): Promise<void> {
    await this.ctr('images', 'import', ownImage.archive)
    await this.ctr('images', 'label', ownImage.reference, 'io.cri-containerd.pinned=pinned')
  }

  /** Leads pulls of `registry.d8-system.svc:5001` to the registry at `url`. */
  async pullFrom(url: string): Promise<void> {
    await this.host.write(
      `${hostsFolder}/${registryName}/hosts.toml`,
      `server = "${url}"\n[host."${url}"]\n  capabilities = ["pull", "resolve"]\n`
    )
  }

  /** What the CRI knows of an image; rejects where it has none. */
  async image(reference: string): Promise<CriImage> {
    return JSON.parse(await this.crictl('inspecti', '--output', 'json', reference)).status
  }

  /** Runs `ctr` in the namespace of the CRI. */
  async ctr(...args: readonly string[]): Promise<string> {
    return await this.host.run(this.version.client, ['--namespace', 'k8s.io', ...args])
  }

  /** Runs `crictl`. */
  async crictl(...args: readonly string[]): Promise<string> {
    return await this.host.run('crictl', args)
  }
}
