import { runCommand } from './command.ts'

const namespace = 'k8s.io'
const listTimeoutMs = 10_000
// Some 60 MiB, on a disk that etcd uses too.
const importTimeoutMs = 300_000

/** Images of the kubelet's in the containerd that listens on `address`. */
export class NodeImages {
  readonly #address: string

  constructor(address: string) {
    this.#address = address
  }

  /** Whether containerd has an image of this name. */
  async has(reference: string): Promise<boolean> {
    return (await this.#names()).includes(reference)
  }

  /** Imports an archive that holds the image, and keeps it from the kubelet's collection of unused images. */
  async import(reference: string, archive: string): Promise<void> {
    const before = await this.#names()
    await this.#ctr(['images', 'import', archive], importTimeoutMs)
    const after = await this.#names()
    if (!after.includes(reference)) {
      const made = after.filter(name => !before.includes(name) && !name.startsWith('sha256:'))
      const [only] = made
      if (only === undefined || made.length > 1)
        throw new Error(`${archive} does not hold ${reference}${made.length > 0 ? `; it holds ${made.join(', ')}` : ''}`)
      await this.#ctr(['images', 'tag', only, reference], listTimeoutMs)
    }
    await this.#ctr(['images', 'label', reference, 'io.cri-containerd.pinned=pinned'], listTimeoutMs)
  }

  async #names(): Promise<string[]> {
    return (await this.#ctr(['images', 'ls', '--quiet'], listTimeoutMs)).split('\n').filter(Boolean)
  }

  async #ctr(args: readonly string[], timeoutMs: number): Promise<string> {
    return (await runCommand('ctr', ['--address', this.#address, '--namespace', namespace, ...args], timeoutMs)).stdout
  }
}
