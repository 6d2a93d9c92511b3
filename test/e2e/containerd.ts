import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Test } from 'tap'
import { must } from './command.ts'
import type { Daemon } from './daemon.ts'
import { startDaemon } from './daemon.ts'
import { temporaryFolder } from './place.ts'
import type { Registry } from './registry.ts'

/** One version of containerd: its commands, and how its configuration file is spelled. */
export interface Containerd {
  title: string
  daemon: string
  client: string
  config: (place: Place) => string
}

/** Where one containerd keeps everything, and the folder of its `hosts.toml` files. */
export interface Place {
  folder: string
  hosts: string
}

/** A running containerd. */
export interface RunningContainerd extends Daemon, Place {
  readonly socket: string
}

/** The address under which a node knows the registry, whatever its real one. */
export const host = 'registry.d8-system.svc:5001'

/** Debian's containerd. */
export const containerd1: Containerd = {
  title: 'containerd 1.6',
  daemon: 'containerd',
  client: 'ctr',
  config: place => `version = 2
${common(place)}
[plugins."io.containerd.grpc.v1.cri"]
  stream_server_address = "127.0.0.1"
  stream_server_port = "0"
[plugins."io.containerd.grpc.v1.cri".containerd]
  snapshotter = "native"
[plugins."io.containerd.grpc.v1.cri".registry]
  config_path = "${place.hosts}"
[plugins."io.containerd.internal.v1.opt"]
  path = "${place.folder}/opt"
`
}

const transferTable = '[plugins."io.containerd.transfer.v1.local"]\n'

/** containerd 2, whose pulls ask for ranges of a blob. */
export const containerd2: Containerd = {
  title: 'containerd 2',
  daemon: 'containerd2',
  client: 'ctr2',
  config: place => `version = 3
${common(place)}
[plugins."io.containerd.cri.v1.images"]
  snapshotter = "native"
[plugins."io.containerd.cri.v1.images".registry]
  config_path = "${place.hosts}"
[plugins."io.containerd.grpc.v1.cri"]
  stream_server_address = "127.0.0.1"
  stream_server_port = "0"
[plugins."io.containerd.internal.v1.opt"]
  path = "${place.folder}/opt"
${transferTable}  config_path = "${place.hosts}"
[[plugins."io.containerd.transfer.v1.local".unpack_config]]
  platform = "linux/amd64"
  snapshotter = "native"
`
}

/** containerd 2 that fetches one blob by several ranges at once. */
export const containerd2Ranges: Containerd = {
  ...containerd2,
  title: 'containerd 2 with parallel ranges',
  config: place =>
    containerd2
      .config(place)
      .replace(transferTable, `${transferTable}  max_concurrent_downloads = 6\n  concurrent_layer_fetch_buffer = 262144\n`)
}

/** Starts containerd with a `hosts.toml` that leads its reference's host to the registry; it is stopped when the test ends. */
export async function startContainerd(
  t: Test,
  version: Containerd,
  registry: Pick<Registry, 'address' | 'ca'>
): Promise<RunningContainerd> {
  const folder = await temporaryFolder(t)
  const place = { folder, hosts: join(folder, 'hosts') }
  await mkdir(join(place.hosts, host), { recursive: true })
  await writeFile(join(place.hosts, host, 'hosts.toml'), hostsToml(registry))
  await writeFile(join(folder, 'config.toml'), version.config(place))
  const socket = join(folder, 'containerd.sock')
  const daemon = await startDaemon({
    command: version.daemon,
    args: ['--config', join(folder, 'config.toml')],
    probe: async () => void (await must(version.client, ['--address', socket, 'version'], { limit: 5000 }))
  })
  t.teardown(async () => void (await daemon.stop()))
  return { ...daemon, ...place, socket }
}

function hostsToml(registry: Pick<Registry, 'address' | 'ca'>): string {
  const url = `https://${registry.address}`
  return `server = "${url}"
[host."${url}"]
  capabilities = ["pull", "resolve"]
  ca = "${registry.ca}"
`
}

function common({ folder }: Place): string {
  return `root = "${folder}/root"
state = "${folder}/state"
[grpc]
  address = "${folder}/containerd.sock"
[ttrpc]
  address = "${folder}/containerd.sock.ttrpc"`
}
