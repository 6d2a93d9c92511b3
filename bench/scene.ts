import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { Bench } from './bench.ts'
import type { Kind, Server, Setup } from './servers/server.ts'

/** A server under comparison, with the root of its store. */
export interface Contender {
  readonly kind: Kind
  readonly server: Server
  readonly root: string
}

/** How HTTP is spoken on all sides. */
export type Transport = 'HTTP' | 'TLS'
export const transports: readonly Transport[] = ['HTTP', 'TLS']

/** Gives each kind a folder and a root, starts them all, and stops and removes everything when the work is done. */
export async function withServers<T>(
  bench: Bench,
  kinds: readonly Kind[],
  prepare: (kind: Kind, root: string) => Promise<Omit<Setup, 'folder'>>,
  work: (contenders: readonly Contender[]) => Promise<T>
): Promise<T> {
  const contenders: Contender[] = []
  return await inFolder(bench, async folder => {
    try {
      for (const kind of kinds) {
        const place = join(folder, kind.name)
        const root = join(place, 'root')
        await mkdir(root, { recursive: true })
        contenders.push({ kind, root, server: await kind.start({ folder: place, ...(await prepare(kind, root)) }) })
      }
      return await work(contenders)
    } finally {
      await Promise.all(contenders.map(({ server }) => server.stop()))
    }
  })
}

/** Work in a folder that is removed afterwards. */
export async function inFolder<T>({ folder }: Bench, work: (folder: string) => Promise<T>): Promise<T> {
  const place = await mkdtemp(join(folder, 'part-'))
  try {
    return await work(place)
  } finally {
    await rm(place, { recursive: true, force: true, maxRetries: 5 })
  }
}

/** In each round every contender once; each round begins with another one, so that none always comes first. */
export async function interleave<T>(rounds: number, contenders: readonly T[], each: (contender: T) => Promise<void>): Promise<void> {
  for (let round = 0; round < rounds; round++) {
    for (let turn = 0; turn < contenders.length; turn++) {
      const contender = contenders[(round + turn) % contenders.length]
      if (contender !== undefined) await each(contender)
    }
  }
}

/** The certificates of a server that speaks so. */
export function tlsOf({ pki }: Bench, transport: Transport): Pick<Setup, 'pki'> {
  return transport === 'TLS' ? { pki } : {}
}

/** The name of a workload that is there for each transport. */
export function nameOver(name: string, transport: Transport): string {
  return transport === 'TLS' ? `${name}-tls` : name
}
