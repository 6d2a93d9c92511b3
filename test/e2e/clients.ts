import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Test } from 'tap'
import { type Outcome, run } from './command.ts'
import { makeSingle } from './image.ts'
import { temporaryFolder } from './place.ts'

/** User and password of a login. */
export interface Login {
  user: string
  password: string
}

/** What one client needs for its work: a folder of its own, the registry over plain HTTP, and what to push. */
export interface Workplace {
  folder: string
  /** `127.0.0.1:port` */
  address: string
  /** Path of an image layout with one image, `image`. */
  layout: string
}

/** A client of registries, and how its commands are spelled. Every command runs with a home of its own. */
export interface Client {
  title: string
  /** The command, as it is on the PATH. */
  command: string
  needsRoot?: boolean
  /** False if `login` writes the password down without trying it. */
  triesPassword: boolean
  /** Makes what `push` pushes. */
  prepare?(act: Act, place: Workplace): Promise<void>
  login(place: Workplace, login: Login): readonly string[]
  logout(place: Workplace): readonly string[]
  push(place: Workplace, reference: string): readonly string[]
  /** Pulls everything of what was pushed, to a place where it is not yet. */
  pull(place: Workplace, reference: string): readonly string[]
}

/** Runs the command of the client with these arguments. */
export type Act = (args: readonly string[]) => Promise<Outcome>

/** The environment that keeps a client within its folder. */
function actIn(client: Client, folder: string): Act {
  const env = {
    HOME: folder,
    DOCKER_CONFIG: folder,
    REGISTRY_AUTH_FILE: join(folder, 'auth.json'),
    REGCTL_CONFIG: join(folder, 'regctl.json'),
    XDG_RUNTIME_DIR: folder
  }
  return args => run(client.command, args, { cwd: folder, env })
}

/** A client at the registry of an address, with an image to push, and assertions on what its commands come to. */
export async function putToWork(t: Test, client: Client, address: string, refusal: RegExp) {
  const folder = await temporaryFolder(t)
  const place = await makeWorkplace(folder, address)
  const act = actIn(client, folder)
  await client.prepare?.(act, place)
  const succeeds = async (what: string, args: readonly string[]) => {
    const { code, stdout, stderr } = await act(args)
    t.equal(code, 0, `${what}: ${stdout}${stderr}`)
  }
  const isRefused = async (what: string, args: readonly string[]) => {
    const { code, stdout, stderr } = await act(args)
    t.not(code, 0, what)
    t.match(`${stdout}${stderr}`, refusal, what)
  }
  return { place, succeeds, isRefused }
}

async function makeWorkplace(folder: string, address: string): Promise<Workplace> {
  await mkdir(join(folder, 'made'), { recursive: true })
  await mkdir(join(folder, 'pulled'))
  await writeFile(join(folder, 'auth.json'), '{}')
  const { layout } = await makeSingle(join(folder, 'made'))
  return { folder, address, layout: layout.folder }
}

const open = ['--tls-verify=false']
const storage = ({ folder }: Workplace) => ['--storage-driver', 'vfs', '--root', join(folder, 'storage'), '--runroot', join(folder, 'run')]

// podman and buildah share their storage and most of their spelling.
function withStorage(command: 'podman' | 'buildah'): Client {
  return {
    title: command,
    command,
    needsRoot: true,
    triesPassword: true,
    login: ({ address }, { user, password }) => ['login', ...open, '-u', user, '-p', password, address],
    logout: ({ address }) => ['logout', address],
    prepare: async (act, place) => void (await must(act, [...storage(place), 'pull', '-q', 'oci:made:image'])),
    push: (place, reference) => [...storage(place), 'push', ...open, 'localhost/made:latest', `docker://${place.address}/${reference}`],
    pull: (place, reference) => [...storage(place), 'pull', ...open, `docker://${place.address}/${reference}`]
  }
}

/** The clients of the field that log in, push and pull by themselves. */
export const clients: readonly Client[] = [
  {
    title: 'skopeo',
    command: 'skopeo',
    triesPassword: true,
    login: ({ address }, { user, password }) => ['login', ...open, '-u', user, '-p', password, address],
    logout: ({ address }) => ['logout', address],
    push: ({ address, layout }, reference) => [
      ...['--insecure-policy', 'copy', '--dest-tls-verify=false'],
      ...[`oci:${layout}:image`, `docker://${address}/${reference}`]
    ],
    pull: ({ address, folder }, reference) => [
      ...['--insecure-policy', 'copy', '--src-tls-verify=false'],
      ...[`docker://${address}/${reference}`, `oci:${folder}/pulled:image`]
    ]
  },
  withStorage('podman'),
  withStorage('buildah'),
  {
    title: 'crane',
    command: 'crane',
    triesPassword: false,
    login: ({ address }, { user, password }) => ['auth', 'login', '-u', user, '-p', password, address],
    logout: ({ address }) => ['auth', 'logout', address],
    push: ({ address, layout }, reference) => ['push', layout, `${address}/${reference}`],
    pull: ({ address, folder }, reference) => ['pull', '--format=oci', `${address}/${reference}`, join(folder, 'pulled')]
  },
  {
    title: 'oras',
    command: 'oras',
    triesPassword: true,
    login: ({ address }, { user, password }) => ['login', '--plain-http', '-u', user, '-p', password, address],
    logout: ({ address }) => ['logout', address],
    push: ({ address, layout }, reference) => ['cp', '--from-oci-layout', '--to-plain-http', `${layout}:image`, `${address}/${reference}`],
    pull: ({ address, folder }, reference) => [
      ...['cp', '--from-plain-http', '--to-oci-layout'],
      ...[`${address}/${reference}`, `${join(folder, 'pulled')}:image`]
    ]
  },
  {
    title: 'regctl',
    command: 'regctl',
    triesPassword: true,
    prepare: async (act, { address }) => void (await must(act, ['registry', 'set', '--tls', 'disabled', '--skip-check', address])),
    login: ({ address }, { user, password }) => ['registry', 'login', '-u', user, '-p', password, address],
    logout: ({ address }) => ['registry', 'logout', address],
    push: ({ address, layout }, reference) => ['image', 'copy', `ocidir://${layout}:image`, `${address}/${reference}`],
    pull: ({ address, folder }, reference) => ['image', 'copy', `${address}/${reference}`, `ocidir://${join(folder, 'pulled')}:image`]
  },
  {
    title: 'helm',
    command: 'helm',
    triesPassword: true,
    prepare: async (act, { folder }) => {
      await mkdir(join(folder, 'chart'))
      await writeFile(join(folder, 'chart/Chart.yaml'), 'apiVersion: v2\nname: chart\nversion: 1.0.0\n')
      await must(act, ['package', 'chart'])
    },
    login: ({ address }, { user, password }) => ['registry', 'login', '--plain-http', '-u', user, '-p', password, address],
    logout: ({ address }) => ['registry', 'logout', address],
    push: ({ address }, reference) => ['push', '--plain-http', 'chart-1.0.0.tgz', `oci://${address}/${nameOf(reference)}`],
    pull: ({ address }, reference) => [
      'pull',
      '--plain-http',
      '-d',
      'pulled',
      '--version',
      '1.0.0',
      `oci://${address}/${nameOf(reference)}/chart`
    ]
  }
]

function nameOf(reference: string): string {
  return reference.slice(0, reference.indexOf(':'))
}

async function must(act: Act, args: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await act(args)
  if (code !== 0) throw new Error(`${args.join(' ')}: exit code ${code}\n${stdout}${stderr}`)
  return stdout
}
