import { randomBytes } from 'node:crypto'
import { mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pino } from 'pino'
import type { Test } from 'tap'
import { stringify } from 'yaml'
import { loadConfig } from '../../config/load.ts'
import type { Config } from '../../config/schema.ts'
import type { LastReload } from '../../src/app/reload.ts'
import { startRegistry } from '../../src/app/server.ts'
import { type Line, metric, type Served, unbounded, until } from '../src/support.ts'
import type { TestUpstream } from '../support/upstream.ts'

/** Sections of the configuration file, as they stand there. */
export type Sections = Record<string, Record<string, unknown>>

/** A registry in this process whose configuration file can be changed. */
export interface Changeable extends Served {
  readonly file: string
  /** Writes the file anew and has it looked at. */
  change(sections: Sections): Promise<LastReload>
  /** The same with any text. */
  write(text: string): Promise<LastReload>
  /** What `/status` says. */
  status(): Promise<Record<string, unknown>>
}

/** The prefix of names here, and what it stands for at the upstream. */
export const prefix = { here: 'system/deckhouse', there: 'deckhouse/ee' } as const

/** The `registry` section that makes `upstream` the one behind the prefix. */
export function behind(mode: 'Proxy' | 'Direct', upstream: TestUpstream, more: Record<string, unknown> = {}): Record<string, unknown> {
  const imagesRepo = `${new URL(upstream.url).host}/${prefix.there}`
  return { mode, [mode.toLowerCase()]: { imagesRepo, scheme: 'HTTP', ...more } }
}

/** A registry on free ports, stopped with the test; sections that are left out have their defaults. */
export async function serveModes(t: Test, sections: Sections, root?: string): Promise<Changeable> {
  const place = realpathSync(mkdtempSync(join(tmpdir(), 'modes-')))
  t.teardown(() => rmSync(place, { recursive: true, force: true, maxRetries: 5 }))
  const file = join(place, 'registry.yaml')
  const textOf = (given: Sections) => {
    const { server, storage, ...rest } = given
    const ports = { listen: '127.0.0.1:0', admin: '127.0.0.1:0', names: ['registry.test:5001'], drain: '1s', path: prefix.here }
    const bounded = { ...unbounded, filesystem: { root: root ?? join(place, 'root') }, ...storage }
    return stringify({ server: { ...ports, ...server }, storage: bounded, ...rest })
  }
  writeFileSync(file, textOf(sections))
  const load = (): Config => loadConfig({ file, env: {} })
  const config = load()
  const lines: Line[] = []
  const log = pino({ level: 'info', base: null }, { write: line => void lines.push(JSON.parse(line)) })
  const registry = await startRegistry(config, log, load)
  let stopped: Promise<boolean> | undefined
  const stop = () => {
    stopped ??= registry.stop()
    return stopped
  }
  t.teardown(async () => void (await stop()))
  const write = (text: string) => {
    writeFileSync(file, text)
    return registry.reload()
  }
  return {
    ...registry,
    stop,
    config,
    file,
    root: config.storage.filesystem.root,
    lines,
    logged: (msg, from = 0) => lines.slice(from).filter(line => line.msg === msg),
    write,
    change: given => write(textOf(given)),
    status: async () => (await fetch(`http://${registry.admin}/status`)).json() as Promise<Record<string, unknown>>
  }
}

/** A blob that the upstream has behind the prefix: its bytes, digest, and path here. */
export function blobBehind(upstream: TestUpstream, length: number, name = 'app'): { bytes: Buffer; digest: string; path: string } {
  const bytes = randomBytes(length)
  const digest = upstream.addBlob(`${prefix.there}/${name}`, bytes)
  return { bytes, digest, path: `/v2/${prefix.here}/${name}/blobs/${digest}` }
}

/** Requests for a blob that began a download: GETs that sent any byte. */
export function downloads(upstream: TestUpstream, digest: string): TestUpstream['requests'] {
  return upstream.requests.filter(each => each.method === 'GET' && each.path.endsWith(`/blobs/${digest}`))
}

/** Bytes of a blob that left the upstream. */
export function bytesSent(upstream: TestUpstream, digest: string): number {
  return downloads(upstream, digest).reduce((sum, each) => sum + each.bytes, 0)
}

/** Resolves when so many blobs have been stored: their last clients are served before the disk is. */
export async function storedFills(served: Served, count: number): Promise<void> {
  await until(async () => (await metric(served, 'registry_fills_total', '{result="stored"}')) === count)
}
