import { execFileSync } from 'node:child_process'
import { lstat, mkdtemp, readdir, readFile, readlink, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Test } from 'tap'
import type { HostDirectory } from '../../../src/containerd/hosts.ts'
import { hostsFile, renderHosts } from '../../../src/containerd/hosts.ts'
import type { Mirror } from '../../../src/containerd/mirrors.ts'

/** The registry host of the references. */
export const fixed = 'registry.d8-system.svc:5001'

/** A new folder that is removed when the test ends. */
export async function folder(t: Test): Promise<string> {
  const made = await mkdtemp(join(tmpdir(), 'registry-hosts-'))
  t.teardown(() => rm(made, { recursive: true, force: true }))
  return made
}

/** A certificate authority in PEM, another one with every call. */
export function makeCa(): string {
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', '/dev/null']
  return execFileSync('openssl', ['req', '-x509', ...key, '-days', '2', '-subj', '/CN=registry-ca'], {
    stdio: ['ignore', 'pipe', 'ignore']
  }).toString()
}

/** The files for one host with one mirror. */
export function directory(host: string, mirror: Partial<Mirror> = {}): HostDirectory[] {
  return renderHosts([{ host, mirrors: [{ host: '127.0.0.1:5001', scheme: 'https', ...mirror }] }], { containerd: 'stock' })
}

/** The text of the `hosts.toml` of the first directory. */
export function tomlOf(directories: readonly HostDirectory[]): string {
  return directories[0]?.files.find(({ name }) => name === hostsFile)?.text ?? ''
}

/** Everything below a folder: path → mode and content, target of a link, or `directory`. */
export async function snapshot(root: string): Promise<Record<string, string>> {
  const names = (await readdir(root, { recursive: true })).sort()
  const entries = await Promise.all(names.map(async name => [name, await describe(join(root, name))] as const))
  return Object.fromEntries(entries)
}

async function describe(path: string): Promise<string> {
  const found = await lstat(path)
  if (found.isDirectory()) return 'directory'
  if (found.isSymbolicLink()) return `-> ${await readlink(path)}`
  return `${(found.mode & 0o777).toString(8)} ${await readFile(path, 'utf8')}`
}
