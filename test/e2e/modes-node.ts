import { readFile } from 'node:fs/promises'
import type { Test } from 'tap'
import { renderHosts } from '../../src/containerd/hosts.ts'
import { install } from '../../src/containerd/install.ts'
import type { Mirror } from '../../src/containerd/mirrors.ts'
import { hostsOfMode } from '../../src/containerd/mirrors.ts'
import type { Outcome } from './command.ts'
import { must, run } from './command.ts'
import type { Containerd } from './containerd.ts'
import { containerd1, startContainerd } from './containerd.ts'
import { users } from './htpasswd.ts'
import type { Registry } from './registry.ts'

/** How a node's containerd is told to pull: by `ctr`, or by `crictl` through the CRI. */
export type Puller = 'ctr' | 'crictl'

/** What the registry does with the node's pulls. */
export type Mode = 'Direct' | 'Proxy' | 'Local'

/** A node whose containerd knows the registry from the rendered files alone. */
export interface Node {
  /** Pulls without credentials of its own. */
  pull(reference: string): Promise<Outcome>
  /** Removes every image, with all of its bytes. */
  forget(): Promise<void>
  /** Digests of everything that it holds, in byte order. */
  content(): Promise<string[]>
}

/** Starts containerd and installs the files that the registry renders for the mode; what stands there has a certificate and the user `ro`. */
export async function startNode(
  t: Test,
  version: Containerd,
  puller: Puller,
  registry: Pick<Registry, 'address' | 'ca'>,
  mode: Mode
): Promise<Node> {
  const { socket, hosts } = await startContainerd(t, version, registry)
  const mirror: Mirror = {
    host: registry.address,
    scheme: 'https',
    ca: await readFile(registry.ca ?? '', 'utf8'),
    auth: { username: 'ro', password: users.ro.password }
  }
  const oldest = version === containerd1 ? '1.6' : '2.1'
  await install(renderHosts(hostsOfMode({ mode, containerd: 'stock', registry: mirror }), { containerd: 'stock', oldest }), { root: hosts })

  const namespace = puller === 'ctr' ? 'default' : 'k8s.io'
  const ctr = ['--address', socket, '--namespace', namespace]
  const crictl = ['--runtime-endpoint', `unix://${socket}`, '--timeout', '120s']
  const options = ['--hosts-dir', hosts, '--snapshotter', 'native', '--platform', 'linux/amd64']
  const list = async (...args: string[]) => (await must(version.client, [...ctr, ...args])).split('\n').filter(line => line !== '')
  return {
    pull: reference =>
      puller === 'ctr'
        ? run(version.client, [...ctr, 'images', 'pull', ...options, reference], { limit: 240_000 })
        : run('crictl', [...crictl, 'pull', reference]),
    forget: async () => {
      const all = await list('images', 'ls', '--quiet')
      if (puller === 'ctr') await must(version.client, [...ctr, 'images', 'rm', '--sync', ...all])
      else await must('crictl', [...crictl, 'rmi', '--all'])
    },
    content: async () => (await list('content', 'ls', '--quiet')).sort()
  }
}
