import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { pino } from 'pino'
import type { Test } from 'tap'
import { stringify } from 'yaml'
import { type Agent, loadOrLastGood, startAgent } from '../../../src/app/agent/start.ts'
import type { LastReload } from '../../../src/app/reload.ts'
import { folder, type Line } from '../support.ts'

/** The name that the routes of these tests are for. */
export const routeName = 'registry.test:5001'

/** Settings of `agent` as they stand in the file; the ports are any free ones. */
export type AgentSection = Record<string, unknown>

/** An agent in this process whose configuration file can be changed. */
export interface ServedAgent extends Agent {
  readonly file: string
  readonly lines: Line[]
  /** The lines with this message. */
  logged(msg: string): Line[]
  /** Writes the file anew and has it looked at. */
  change(section: AgentSection): Promise<LastReload>
  /** The same with any text. */
  write(text: string): Promise<LastReload>
  /** What `/status` says. */
  status(): Promise<Record<string, unknown>>
}

/** A pool of registries that are reached by plain HTTP. */
export function poolOf(...registries: readonly { url: string; local?: boolean }[]): Record<string, unknown> {
  return { replicas: registries.map(({ url, local = false }) => ({ address: new URL(url).host, local })), scheme: 'HTTP' }
}

/** The section with one route to these pools. */
export function routed(...pools: readonly Record<string, unknown>[]): AgentSection {
  return { routes: [{ names: [routeName], pools }] }
}

const textOf = (section: AgentSection) => stringify({ agent: { listen: '127.0.0.1:0', admin: '127.0.0.1:0', drain: '1s', ...section } })

/** An agent on free ports of the loopback address, stopped with the test. */
export async function serveAgent(t: Test, section: AgentSection, place: string = folder(t)): Promise<ServedAgent> {
  const file = join(place, 'agent.yaml')
  writeFileSync(file, textOf(section))
  return startOver(t, file)
}

/** Starts an agent with a file as it is. */
export async function startOver(t: Test, file: string, lastGood?: string): Promise<ServedAgent> {
  const lines: Line[] = []
  const log = pino({ level: 'info', base: null }, { write: line => void lines.push(JSON.parse(line)) })
  const agent = await startAgent(loadOrLastGood(file, lastGood), log)
  let stopped: Promise<boolean> | undefined
  const stop = () => {
    stopped ??= agent.stop()
    return stopped
  }
  t.teardown(async () => void (await stop()))
  const write = (text: string) => {
    writeFileSync(file, text)
    return agent.reload()
  }
  return {
    ...agent,
    stop,
    file,
    lines,
    logged: msg => lines.filter(line => line.msg === msg),
    write,
    change: given => write(textOf(given)),
    status: async () => (await fetch(`http://${agent.admin}/status`)).json() as Promise<Record<string, unknown>>
  }
}
