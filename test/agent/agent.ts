import { rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { stringify } from 'yaml'
import { type Daemon, startDaemon } from '../e2e/daemon.ts'
import { users } from '../e2e/htpasswd.ts'
import type { Pki } from '../e2e/pki.ts'
import { freePort } from '../e2e/place.ts'
import { startEnvironment } from '../long/server.ts'
import { ask, until } from '../src/support.ts'
import { type Ending, temporaryDirectory } from '../support/place.ts'
import { program } from '../support/program.ts'
import { namespace } from './content.ts'

/** A replica in the file of an agent. */
export interface ReplicaSetting {
  address: string
  local?: boolean
}

/** A pool in the file of an agent. */
export type PoolSetting = { replicas: readonly ReplicaSetting[]; scheme?: 'HTTP' | 'HTTPS' } & Readonly<Record<string, unknown>>

/** An agent in a process of its own. */
export interface Agent extends Daemon {
  /** `127.0.0.1:<port>` */
  readonly address: string
  readonly admin: string
  /** Its configuration file. */
  readonly file: string
  /** Replaces the text of its file by a rename, sends SIGHUP, and resolves to what it says of the reload. */
  write(text: string): Promise<LastReload>
  /** The same with these pools in place of those it had. */
  change(pools: readonly object[]): Promise<LastReload>
  status(): Promise<{ reload?: LastReload } & Record<string, unknown>>
  metrics(): Promise<string>
  /** Starts it again over the same file, after it has ended. */
  again(t: Ending): Promise<Agent>
}

/** What became of the last change of the file. */
export interface LastReload {
  at: string
  result: string
}

/** What an agent is started with, besides its ports: its pools, in order, and further settings of `agent`. */
export interface AgentOptions {
  pools: readonly object[]
  more?: Readonly<Record<string, unknown>>
}

/** A pool of replicas over plain HTTP; the first is the node's own. */
export function plainPool([local, ...others]: readonly { address: string }[]): PoolSetting {
  const replicas = [...(local ? [{ address: local.address, local: true }] : []), ...others.map(({ address }) => ({ address }))]
  return { replicas, scheme: 'HTTP' }
}

/** The same for replicas that speak TLS and know the user `ro`; `folder` takes the file of its password. */
export async function securePool(replicas: readonly { address: string }[], { ca }: Pki, folder: string): Promise<PoolSetting> {
  const passwordFile = join(folder, 'password')
  await writeFile(passwordFile, users.ro.password)
  return { ...plainPool(replicas), scheme: 'HTTPS', caFile: ca, username: 'ro', passwordFile }
}

/** Starts an agent on free ports; it is stopped when the test ends. */
export async function startAgent(t: Ending, { pools, more = {} }: AgentOptions): Promise<Agent> {
  const folder = await temporaryDirectory(t)
  const file = join(folder, 'agent.yaml')
  const [address, admin] = [`127.0.0.1:${await freePort()}`, `127.0.0.1:${await freePort()}`]
  const textOf = (given: readonly object[]) =>
    stringify({ agent: { listen: address, admin, routes: [{ names: [namespace], pools: given }], ...more } })
  const replace = async (text: string) => {
    await writeFile(`${file}.new`, text)
    await rename(`${file}.new`, file)
  }
  await replace(textOf(pools))
  return await launch(t, { address, admin, file, textOf, replace })
}

interface Place {
  address: string
  admin: string
  file: string
  textOf: (pools: readonly object[]) => string
  replace: (text: string) => Promise<void>
}

async function launch(t: Ending, place: Place): Promise<Agent> {
  const { address, admin, file, textOf, replace } = place
  const live = async () => {
    const { status } = await ask(admin, 'GET', '/livez')
    if (status !== 200) throw new Error(`/livez answers ${status}`)
  }
  const args = [...program, 'agent', '--config', file]
  const env = { NODE_OPTIONS: '', ...defined(startEnvironment) }
  const daemon = await startDaemon({ command: process.execPath, args, env, probe: live })
  t.teardown(() => daemon.stop())
  const status = async () => JSON.parse((await ask(admin, 'GET', '/status')).body.toString())
  const write = async (text: string) => {
    const before = (await status()).reload?.at
    await replace(text)
    process.kill(daemon.pid, 'SIGHUP')
    let last: LastReload | undefined
    await until(async () => {
      last = (await status()).reload
      return last !== undefined && last.at !== before
    })
    return last ?? { at: '', result: '' }
  }
  const metrics = async () => (await ask(admin, 'GET', '/metrics')).body.toString()
  return {
    ...daemon,
    address,
    admin,
    file,
    status,
    write,
    change: given => write(textOf(given)),
    metrics,
    again: other => launch(other, place)
  }
}

function defined(variables: Readonly<Record<string, string | undefined>>): Record<string, string> {
  return Object.fromEntries(Object.entries(variables).filter((each): each is [string, string] => each[1] !== undefined))
}
