import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'

/** Looks at the blobs below a root; what was looked at before and has not changed is passed over. */
export class StoredBlobs {
  readonly #seen = new Set<string>()
  readonly #folder: string

  constructor(root: string) {
    this.#folder = join(root, 'docker/registry/v2/blobs')
  }

  get count(): number {
    return this.#seen.size
  }

  /** The files whose bytes are not those of the digest that their path spells, and files that have no business there. */
  async findDamaged(): Promise<string[]> {
    const damaged: string[] = []
    const entries = await readdir(this.#folder, { recursive: true, withFileTypes: true }).catch(() => [])
    for (const entry of entries.filter(each => each.isFile())) {
      const file = join(entry.parentPath, entry.name)
      const { size, mtimeMs } = await stat(file)
      const state = `${file} ${size} ${mtimeMs}`
      if (!this.#seen.has(state) && !(await this.#isSound(file))) damaged.push(file)
      this.#seen.add(state)
    }
    return damaged
  }

  async #isSound(file: string): Promise<boolean> {
    const [algorithm = '', prefix, encoded, name, ...more] = file.slice(this.#folder.length + 1).split('/')
    if ((algorithm !== 'sha256' && algorithm !== 'sha512') || name !== 'data' || more.length > 0) return false
    const hash = createHash(algorithm)
    await pipeline(createReadStream(file), hash)
    return hash.digest('hex') === encoded && encoded.slice(0, 2) === prefix
  }
}
