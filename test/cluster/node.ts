import type { Test } from 'tap'
import { containerd2, HostContainerd } from './containerd.ts'
import type { ControlPlane } from './control-plane.ts'
import type { HostOptions } from './host.ts'
import { Host } from './host.ts'
import type { KubeletOptions } from './kubelet.ts'
import { Kubelet } from './kubelet.ts'

/** A node of a cluster: a host with its containerd and its kubelet. */
export interface Node {
  host: Host
  containerd: HostContainerd
  kubelet: Kubelet
}

/** Starts a host, containerd 2 and a kubelet; resolves when the node is ready. */
export async function startNode(t: Test, controlPlane: ControlPlane, options: HostOptions & KubeletOptions): Promise<Node> {
  const host = await Host.start(t, options)
  const containerd = await HostContainerd.start(host, containerd2)
  return { host, containerd, kubelet: await Kubelet.start(host, controlPlane, options) }
}
