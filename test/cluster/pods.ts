import { join } from 'node:path'
import type { HostContainerd } from './containerd.ts'
import { ownImage } from './images.ts'

/** A container alone in a pod on the network of its host, as a kubelet would have the CRI make it. */
export interface PodOptions {
  name: string
  args: readonly string[]
  /** Paths of the host, which the container has in the same place; the others of its files are read-only. */
  mounts: readonly { path: string; writable?: boolean }[]
  /** Bytes of memory that it may have. */
  memory: number
}

/** A running pod, and its one container, by their CRI identifiers. */
export interface Pod {
  pod: string
  container: string
}

const namespaceOfNode = 2

/** Starts a pod of the registry's image by `crictl`. */
export async function startPod(containerd: HostContainerd, { name, args, mounts, memory }: PodOptions): Promise<Pod> {
  const { host } = containerd
  const pod = {
    metadata: { name, namespace: 'd8-system', uid: name, attempt: 1 },
    log_directory: `/var/log/pods/${name}`,
    linux: { cgroup_parent: join(host.cgroup, 'pods'), security_context: { namespace_options: { network: namespaceOfNode } } }
  }
  const container = {
    metadata: { name },
    image: { image: ownImage.reference },
    args,
    log_path: 'container.log',
    mounts: mounts.map(({ path, writable = false }) => ({ host_path: path, container_path: path, readonly: !writable })),
    linux: { resources: { memory_limit_in_bytes: memory }, security_context: { readonly_rootfs: true } }
  }
  await host.write('/run/pod.json', JSON.stringify(pod))
  await host.write('/run/container.json', JSON.stringify(container))
  const podId = (await containerd.crictl('runp', '/run/pod.json')).trim()
  const containerId = (await containerd.crictl('create', podId, '/run/container.json', '/run/pod.json')).trim()
  await containerd.crictl('start', containerId)
  return { pod: podId, container: containerId }
}
