import { link, mkdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Pki } from '../../test/e2e/pki.ts'
import type { Blob } from '../blob.ts'
import type { Content } from '../content.ts'
import { plantFiles } from '../content.ts'
import { startNginx } from './nginx.ts'
import { platformPath } from './ours.ts'
import type { Server } from './server.ts'

/** A registry behind the others: nginx with files, and its log to count what was asked of it. */
export class FileUpstream {
  readonly server: Server
  readonly #folder: string

  private constructor(server: Server, folder: string) {
    this.server = server
    this.#folder = folder
  }

  static async start(folder: string, pki?: Pki): Promise<FileUpstream> {
    const root = join(folder, 'www')
    await mkdir(join(root, 'v2', platformPath, 'blobs'), { recursive: true })
    const task = { mode: 'Local' as const, root }
    return new FileUpstream(await startNginx({ folder, task, ...(pki ? { pki } : {}) }, 'upstream.log requests'), folder)
  }

  /** Offers a blob; answers the path under which it, and every server in front, is asked for it. */
  async offer({ digest, file }: Blob): Promise<string> {
    const path = `/v2/${platformPath}/blobs/${digest}`
    await link(file, join(this.#folder, 'www', path))
    return path
  }

  async plant(content: Content): Promise<void> {
    await plantFiles(join(this.#folder, 'www'), content)
  }

  /** How many GETs of this path were answered. */
  async downloads(path: string): Promise<number> {
    const log = await readFile(join(this.#folder, 'upstream.log'), 'utf8')
    return log.split('\n').filter(line => line.startsWith('GET 2') && line.endsWith(` ${path}`)).length
  }
}
