import { mkdtempSync, realpathSync, rmSync } from 'node:fs'
import { lstat, mkdir, readdir, readFile, readlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { hashSync } from '@node-rs/bcrypt'
import type { Test } from 'tap'
import { stringify } from 'yaml'
import { parseWanted, type Wanted } from '../../../config/node/wanted.ts'
import type { NodeTools } from '../../../src/node/host/tools.ts'
import { applyNode, type NodeOptions } from '../../../src/node/node.ts'
import { makeAuthority } from '../../../src/node/pki/issue.ts'
import type { KeyPair } from '../../../src/node/render/render.ts'

/** When these tests take place. */
export const now = Date.now()

/** The authority of the replicas of these tests. */
export const authority: KeyPair = await makeAuthority('registry-ca', now)

export const reference = 'registry.d8-system.svc:5001/system/deckhouse/registry:v1'

/** The wanted state of the first of three control-plane nodes, in Local. */
export const local = {
  node: { name: 'm1', address: '10.0.0.1', role: 'control-plane' },
  mode: 'Local',
  replicas: [
    { name: 'm1', address: '10.0.0.1' },
    { name: 'm2', address: '10.0.0.2' },
    { name: 'm3', address: '10.0.0.3' }
  ],
  // With bcrypt strings, since making them takes a good part of an apply.
  users: {
    ro: { password: 'password-of-ro', passwordHash: hashSync('password-of-ro', 4) },
    rw: { passwordHash: hashSync('password-of-rw', 4) }
  },
  pki: { ca: authority.certificate, caKey: authority.key },
  image: { reference, archive: '/opt/deckhouse/registry-image.tar' }
} as const

export const upstream = { imagesRepo: 'registry.example.org/deckhouse/ee', license: 'license-of-the-upstream' }

/** The same in other modes and on other nodes. */
export const direct = { ...local, mode: 'Direct', direct: upstream } as const
export const proxy = { ...local, mode: 'Proxy', proxy: { ...upstream, ttl: '72h' } } as const
export const worker = { ...local, node: { name: 'w1', address: '10.0.0.9', role: 'worker' }, pki: { ca: authority.certificate } } as const
export const unmanaged = { ...worker, mode: 'Unmanaged', unmanaged: { ...upstream, ca: authority.certificate } } as const
export const bare = { ...worker, mode: 'Unmanaged' } as const

// To compile the schema takes longer than all else in an apply.
const read = new WeakMap<object, Wanted>()

/** A wanted state as it is read from a file. */
export function wantedOf(settings: object, at = now): Wanted {
  const known = read.get(settings)
  if (known) return known
  const wanted = parseWanted({ file: 'node.yaml', text: stringify(settings), folder: '/etc' }, at)
  read.set(settings, wanted)
  return wanted
}

/** What is wrong with a wanted state, a line each. */
export function faultsOf(settings: object | string, at = now): string[] {
  try {
    parseWanted({ file: 'node.yaml', text: typeof settings === 'string' ? settings : stringify(settings), folder: '/etc' }, at)
    return []
  } catch (error) {
    return (error as Error).message.split('\n')
  }
}

/** The root of a node: a directory that goes away with the test, with files by path and text. */
export async function rootOf(t: Test, files: Record<string, string> = {}): Promise<string> {
  const root = realpathSync(mkdtempSync(join(tmpdir(), 'node-')))
  t.teardown(() => rmSync(root, { recursive: true, force: true }))
  await mkdir(join(root, 'var/lib'), { recursive: true })
  for (const [path, text] of Object.entries(files)) await put(root, path, text)
  return root
}

export async function put(root: string, path: string, text: string): Promise<void> {
  await mkdir(dirname(join(root, path)), { recursive: true })
  await writeFile(join(root, path), text)
}

/** containerd's configuration with a place for hosts files, as Deckhouse has it. */
export const configured = {
  'etc/containerd/config.toml':
    'version = 2\n[plugins."io.containerd.grpc.v1.cri".registry]\n  config_path = "/etc/containerd/registry.d"\n'
}

/** A node of which only the files are changed. */
export function filesOnly(root: string, more: Partial<NodeOptions> = {}): NodeOptions {
  return { root, tools: {}, now, ...more }
}

/** Applies to the end; the kinds of the steps with their paths. Rejects where something stands in the way. */
export async function applied(settings: object | undefined, options: NodeOptions): Promise<string[]> {
  const steps: string[] = []
  const applying = applyNode(settings && wantedOf(settings, options.now), options)
  for (;;) {
    const { value, done } = await applying.next()
    if (done) {
      if (value.blockers.length > 0) throw new Error(value.blockers.join('\n'))
      return steps
    }
    steps.push('path' in value ? `${value.kind} ${value.path}` : value.kind)
  }
}

/** Tools that write down how they are used. */
export function toolsThatTell(images: Set<string>, told: string[]): NodeTools {
  return {
    images: {
      has: async each => images.has(each),
      import: async (each, archive) => {
        told.push(`import ${archive}`)
        images.add(each)
      }
    },
    restartContainerd: async () => void told.push('restart'),
    awaitServer: async what => void told.push(`await ${what}`)
  }
}

/** Every file below a root, with what a write would change: path → inode, times, mode and content. */
export async function snapshot(root: string, { identity = false } = {}): Promise<Record<string, string>> {
  const names = (await readdir(root, { recursive: true })).filter(name => !name.startsWith('run')).sort()
  const entries = names.map(async name => {
    const path = join(root, name)
    const found = await lstat(path)
    const who = identity ? `${found.ino} ${found.mtimeMs} ${found.ctimeMs} ` : ''
    const text = found.isDirectory() ? 'directory' : found.isSymbolicLink() ? await readlink(path) : await readFile(path, 'latin1')
    return [name, `${who}${(found.mode & 0o777).toString(8)} ${found.uid}:${found.gid} ${text}`] as const
  })
  return Object.fromEntries(await Promise.all(entries))
}

/** A snapshot without what is random: keys, passwords, and what is made of them. */
export function comparable(files: Record<string, string>): Record<string, string> {
  const random = /(\.(crt|key)|client-password|hosts\.toml|record\.json)$/
  return Object.fromEntries(Object.entries(files).map(([path, text]) => [path, random.test(path) ? text.split(' ', 2).join(' ') : text]))
}

/** Hides the containerd of this machine, which takes most of the time of a plan, until the test ends. */
export function withoutContainerd(t: Test): void {
  const { PATH } = process.env
  process.env['PATH'] = '/nowhere'
  t.teardown(() => {
    process.env['PATH'] = PATH
  })
}
