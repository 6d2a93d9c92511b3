import { resolve } from 'node:path'
import { loadWanted, type Wanted } from '../../config/node/wanted.ts'
import { parseDuration } from '../../config/values/units.ts'
import { describeNodePlan, nameOfStep, planAsJson, stepAsJson } from '../node/apply/describe.ts'
import type { NodePlan } from '../node/apply/plan.ts'
import { nodeTools } from '../node/host/tools.ts'
import { applyNode, type NodeOptions, planOf } from '../node/node.ts'
import { type NodeStatus, statusOfNode } from '../node/status.ts'
import { WrongUse } from './run-operation.ts'

/** The options of the commands for a node as the command line gives them. */
export interface NodeFlags {
  root: string
  config?: string
  dryRun?: true
  replace?: true
  json?: true
  containerd?: string
  restart?: string
  wait?: string
}

/** Makes the node as the file wants it; resolves to whether it is. */
export async function applyWanted(flags: NodeFlags): Promise<boolean> {
  return apply(wantedOf(flags), flags)
}

/** Gives the node back as it was before the first apply. */
export async function restoreNode(flags: NodeFlags): Promise<boolean> {
  return apply(undefined, flags)
}

/** Prints what apply would do; resolves to whether it could. */
export async function planWanted(flags: NodeFlags): Promise<boolean> {
  return showPlan(await planOf(wantedOf(flags), optionsOf(flags)), flags)
}

/** Prints what is owned on the node; resolves to whether it is as applied. */
export async function showStatus({ root, json }: NodeFlags): Promise<boolean> {
  const status = await statusOfNode(resolve(root), Date.now())
  print(json ? `${JSON.stringify(status)}\n` : statusText(status))
  return status.asApplied && status.problems.length === 0
}

async function apply(wanted: Wanted | undefined, flags: NodeFlags): Promise<boolean> {
  const options = optionsOf(flags)
  if (flags.dryRun) return showPlan(await planOf(wanted, options), flags)
  const steps = applyNode(wanted, options)
  let taken = 0
  for (;;) {
    const { value, done } = await steps.next()
    if (done) return showEnd(value, taken, flags)
    taken++
    print(flags.json ? `${JSON.stringify({ type: 'step', ...stepAsJson(value) })}\n` : `${nameOfStep(value)}\n`)
  }
}

function showEnd({ blockers, warnings }: NodePlan, taken: number, { json }: NodeFlags): boolean {
  const applied = blockers.length === 0
  if (json) print(`${JSON.stringify({ type: 'end', applied, taken, blockers, warnings })}\n`)
  else {
    print(describeNodePlan({ steps: [], blockers, warnings }))
    if (applied && taken === 0) print('nothing to change\n')
    if (!applied) print('nothing was changed\n')
  }
  return applied
}

function showPlan(plan: NodePlan, { json }: NodeFlags): boolean {
  if (json) print(`${JSON.stringify(planAsJson(plan))}\n`)
  else print(plan.steps.length + plan.blockers.length === 0 ? `${describeNodePlan(plan)}nothing to change\n` : describeNodePlan(plan))
  return plan.blockers.length === 0
}

function statusText({ applied, files, certificates, foreignHosts, containerd, problems }: NodeStatus): string {
  const { version = 'not found', configPath = 'not set' } = containerd
  const lines = [
    `mode: ${applied ? `${applied.mode}${applied.version ? `, version ${applied.version}` : ''}` : 'nothing was applied'}`,
    `containerd: ${version}, config_path ${configPath}${containerd.restart ? ', has to be restarted' : ''}`,
    ...files.map(({ path, state, kept }) => `${state}: ${path}${kept ? ' (what was there is kept)' : ''}`),
    ...certificates.map(({ path, expires, due }) => `certificate: ${path} until ${expires}${due ? ', apply renews it' : ''}`),
    ...foreignHosts.map(path => `left alone: ${path}`),
    ...problems.map(each => `problem: ${each}`)
  ]
  return lines.map(line => `${line}\n`).join('')
}

function wantedOf({ config }: NodeFlags): Wanted {
  if (config === undefined) throw new WrongUse('--config: expected the file with the wanted state of the node')
  return loadWanted(config, Date.now())
}

// Only on the node itself there is a containerd to ask, and only there pods are waited for.
function optionsOf({ root, replace, containerd, restart, wait }: NodeFlags): NodeOptions {
  const own = resolve(root) === '/'
  const waiting = wait ?? (own ? '120s' : undefined)
  const waitMs = waiting === undefined ? undefined : parseDuration(waiting)
  if (waiting !== undefined && waitMs === undefined) throw new WrongUse(`--wait ${waiting}: expected a duration such as 120s or 2m`)
  const tools = nodeTools({
    containerd: containerd ?? (own ? '/run/containerd/containerd.sock' : undefined),
    restart: (restart ?? (own ? 'systemctl restart containerd' : undefined))?.split(' ').filter(Boolean),
    waitMs
  })
  return { root: resolve(root), tools, now: Date.now(), replace: replace === true }
}

function print(text: string): void {
  process.stdout.write(text)
}
