import { execFile } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { rootCertificates } from 'node:tls'
import { promisify } from 'node:util'
import type { Entry } from './layer.ts'

/**
 * The files that a program of Node needs and that are not its own: this Node, the shared libraries of it and of
 * `nativeModules`, the CA certificates that Node trusts, and the names of users. No shell and no package manager.
 */
export async function runtimeEntries(nativeModules: readonly string[], user: number): Promise<Entry[]> {
  const libraries = new Set((await Promise.all([process.execPath, ...nativeModules].map(librariesOf))).flat())
  return [
    { path: '/usr/local/bin/node', content: await readFile(process.execPath), mode: 0o755 },
    ...(await Promise.all([...libraries].map(async path => ({ path, content: await readFile(path), mode: 0o755 })))),
    { path: '/etc/ssl/certs/ca-certificates.crt', content: text(rootCertificates.map(each => `${each}\n`).join('')) },
    { path: '/etc/nsswitch.conf', content: text('hosts: files dns\n') },
    { path: '/etc/passwd', content: text(`root:x:0:0::/:/sbin/nologin\nregistry:x:${user}:${user}::/:/sbin/nologin\n`) },
    { path: '/etc/group', content: text(`root:x:0:\nregistry:x:${user}:\n`) },
    // Where a mount makes the rest read-only, the folder is here for it.
    { path: '/opt/deckhouse/registry', mode: 0o700, owner: user },
    { path: '/tmp', mode: 0o1777 }
  ]
}

/** Absolute paths of the shared libraries that an executable or a shared library loads, with the dynamic linker. */
export async function librariesOf(file: string): Promise<string[]> {
  const { stdout } = await promisify(execFile)('ldd', [file], { env: { ...process.env, LC_ALL: 'C' } })
  if (/not found/.test(stdout)) throw new Error(`ldd ${file}: a library is missing: ${stdout}`)
  return stdout.split('\n').flatMap(line => /(?:=> |^\s*)(\/\S+) \(0x/.exec(line)?.[1] ?? [])
}

const text = (content: string): Uint8Array => Buffer.from(content)
