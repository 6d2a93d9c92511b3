import { execFileSync } from 'node:child_process'
import { hostsFile, renderHosts } from '../../../src/containerd/hosts.ts'
import type { Mirror } from '../../../src/containerd/mirrors.ts'
import type { OwnedDirectory } from '../../../src/install/owned.ts'

/** The registry host of the references. */
export const fixed = 'registry.d8-system.svc:5001'

/** A certificate authority in PEM, a new one with every call. */
export function makeCa(): string {
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', '/dev/null']
  return execFileSync('openssl', ['req', '-x509', ...key, '-days', '2', '-subj', '/CN=registry-ca'], {
    stdio: ['ignore', 'pipe', 'ignore']
  }).toString()
}

/** The files for one host with one mirror. */
export function directory(host: string, mirror: Partial<Mirror> = {}): OwnedDirectory[] {
  return renderHosts([{ host, mirrors: [{ host: '127.0.0.1:5001', scheme: 'https', ...mirror }] }], { containerd: 'stock' })
}

/** The text of the `hosts.toml` of the first directory. */
export function tomlOf(directories: readonly OwnedDirectory[]): string {
  return directories[0]?.files.find(({ name }) => name === hostsFile)?.text ?? ''
}
