import { join, normalize } from 'node:path'
import { parse } from 'yaml'
import type { Wanted } from '../../config/node/wanted.ts'
import { LockedError, lockDirectory } from '../../storage/fs/lock.ts'
import { makeDirectory, readState } from '../install/files.ts'
import { takeSteps } from './apply/execute.ts'
import { type NodePlan, type NodeStep, type NodeWants, planNode } from './apply/plan.ts'
import { type NodeRecord, readRecord } from './apply/record.ts'
import { type DataFound, findAgentState, findData, findFiles, findSaved } from './apply/survey.ts'
import { type ContainerdFound, findContainerd } from './host/containerd.ts'
import { withConfigPath } from './host/containerd-config.ts'
import type { NodeTools } from './host/tools.ts'
import { addresses, agentUser, places } from './layout.ts'
import { prepareMaterial } from './pki/material.ts'
import { hasAgent, hasReplica, type Material, renderNode } from './render/render.ts'

/** A node, and how it may be changed. */
export interface NodeOptions {
  /** The root of the node's file system. */
  root: string
  tools: NodeTools
  /** Milliseconds. */
  now: number
  /** Whether foreign files in the place of wanted ones are replaced, and kept. */
  replace?: boolean
}

/** Another process changes this node. */
export class NodeBusy extends Error {
  override readonly name = 'NodeBusy'
}

/** What it would take to make the node as wanted; without a wanted state, to give it back. Changes nothing. */
export async function planOf(wanted: Wanted | undefined, options: NodeOptions): Promise<NodePlan> {
  const record = await readRecord(options.root)
  const wants = wanted && wanted.mode !== 'Unmanaged' ? await managed(wanted, record, options) : await unmanaged(wanted, record, options)
  const { warnings, blockers, image, data, ...plain } = wants
  const paths = [...plain.files.map(({ path }) => path), ...(plain.edited ? [plain.edited.path] : [])]
  const files = await findFiles(options.root, paths, record)
  return planNode(
    { ...plain, ...(image ? { image } : {}), ...(data ? { data: { path: data.path, ...data.owner } } : {}) },
    {
      ...files,
      record,
      image: image && (await options.tools.images?.has(image.reference)),
      data: data?.state ?? 'usable',
      agentState: await findAgentState(options.root),
      blockers: [...blockers, ...files.blockers],
      warnings,
      root: process.geteuid?.() === 0
    }
  )
}

/**
 * Makes the node as wanted; without a wanted state, gives it back. Yields each step after it was taken; a plan with
 * blockers, or without steps, takes none and writes nothing. One at a time: rejects with `NodeBusy` otherwise.
 */
export async function* applyNode(wanted: Wanted | undefined, options: NodeOptions): AsyncGenerator<NodeStep, NodePlan> {
  const first = await planOf(wanted, options)
  if (first.steps.length === 0) return first
  const unlock = await lockNode(options.root)
  try {
    // What was found before may have been changed meanwhile.
    const plan = await planOf(wanted, options)
    yield* takeSteps(options.root, plan, options.tools)
    return plan
  } finally {
    unlock()
  }
}

async function lockNode(root: string): Promise<() => void> {
  const directory = join(root, places.run)
  await makeDirectory(directory, 0o700)
  try {
    return lockDirectory(directory)
  } catch (error) {
    if (error instanceof LockedError)
      throw new NodeBusy(`another process changes this node (${error.owner}): wait for its end`, { cause: error })
    throw error
  }
}

interface Wants extends Omit<NodeWants, 'data'> {
  data?: DataFound
  blockers: readonly string[]
  warnings: readonly string[]
}

async function managed(wanted: Wanted, record: NodeRecord, { root, tools, now, replace = false }: NodeOptions): Promise<Wants> {
  const [containerd, saved, data, warnings] = await Promise.all([
    findContainerd(root),
    findSaved(root),
    findData(root),
    kubeletWarnings(root)
  ])
  const material = await prepareMaterial(wanted, saved, now)
  const { configPath, edited, blockers } = configOf(root, containerd, record)
  const files = renderNode(wanted, material, { configPath, containerd: containerd.version, data })
  const replica = hasReplica(wanted)
  const { image } = wanted
  return {
    files,
    ...(edited ? { edited } : {}),
    ...(image && (replica || hasAgent(wanted)) ? { image: { reference: image.reference, archive: image.archive } } : {}),
    ...(replica ? { data } : {}),
    waits: waitsOf(wanted, material),
    agent: hasAgent(wanted),
    applied: appliedOf(wanted),
    replace,
    blockers: [...containerd.blockers, ...blockers, ...(replica ? data.blockers : [])],
    warnings: [...containerd.warnings, ...warnings, ...absentTools(tools)]
  }
}

// With an upstream, containerd is told of it. Without one, nothing stays.
async function unmanaged(wanted: Wanted | undefined, record: NodeRecord, { root, tools, replace = false }: NodeOptions): Promise<Wants> {
  const common = { waits: [], agent: false, replace, warnings: absentTools(tools) }
  if (!wanted?.unmanaged) return { ...common, files: [], blockers: [] }
  const containerd = await findContainerd(root)
  const { configPath, edited, blockers } = configOf(root, containerd, record)
  const nothing: Material = { clientPassword: '', agentCa: '', registryCa: '', hashes: new Map() }
  const data = { path: places.data, owner: { uid: 0, gid: 0 } }
  return {
    ...common,
    files: renderNode(wanted, nothing, { configPath, containerd: containerd.version, data }),
    ...(edited ? { edited } : {}),
    applied: appliedOf(wanted),
    blockers: [...containerd.blockers, ...blockers],
    warnings: [...containerd.warnings, ...common.warnings]
  }
}

function appliedOf({ mode, version }: Wanted) {
  return { mode, ...(version === undefined ? {} : { version }) }
}

/** Where containerd looks for hosts files, and its own file where that has to be told. */
function configOf(
  root: string,
  found: ContainerdFound,
  { files }: NodeRecord
): { configPath: string; edited?: NodeWants['edited']; blockers: string[] } {
  const { configPath, configText, version } = found
  const path = places.containerdConfig
  if (configPath !== undefined) {
    // As long as it is owned it is compared.
    const own = files.has(path) && configText !== undefined ? { edited: { path, text: configText } } : {}
    return { configPath: normalize(configPath).replace(/^\/|\/$/g, ''), ...own, blockers: [] }
  }
  if (found.blockers.length > 0) return { configPath: places.hosts, blockers: [] }
  const text = withConfigPath(configText, `/${places.hosts}`, version?.startsWith('2.') ? 3 : 2)
  if (text !== undefined) return { configPath: places.hosts, edited: { path, text }, blockers: [] }
  const advice = `${join(root, path)}: config_path cannot be set in it without changing more: set it to /${places.hosts} in the registry table of the CRI plugin yourself`
  return { configPath: places.hosts, blockers: [advice] }
}

function waitsOf(wanted: Wanted, { registryCa, agentCa, clientPassword }: Material): NodeWants['waits'] {
  const replica = { host: wanted.node.address, port: addresses.registryPort, ca: registryCa }
  const [host = '', port] = addresses.agent.split(':')
  const agent = { host, port: Number(port), ca: agentCa, credentials: { username: agentUser, password: clientPassword } }
  return [
    ...(hasReplica(wanted) ? [{ what: 'the replica of this node', probed: replica }] : []),
    ...(hasAgent(wanted) ? [{ what: 'the agent', probed: agent }] : [])
  ]
}

function absentTools({ images, restartContainerd, awaitServer }: NodeTools): string[] {
  return [
    ...(images ? [] : ['the images of the node are not looked at: import the image there']),
    ...(restartContainerd ? [] : ['containerd is not restarted: where its configuration changes, restart it there']),
    ...(awaitServer ? [] : ['the pods are not waited for'])
  ]
}

async function kubeletWarnings(root: string): Promise<string[]> {
  const warnings: string[] = []
  const enforcing = await readState('/sys/fs/selinux/enforce').catch(() => undefined)
  if (root === '/' && enforcing?.text.trim() === '1')
    warnings.push(
      `SELinux is enforced: let the pods read /${places.registry}, /${places.agent} and /${places.data} (chcon -R -t container_file_t)`
    )
  const file = join(root, 'var/lib/kubelet/config.yaml')
  const staticPodPath = await staticPodPathOf(file)
  if (typeof staticPodPath === 'string' && normalize(`${staticPodPath}/`) !== `/${places.manifests}/`)
    warnings.push(`the kubelet reads static pods in ${staticPodPath} (${file}): set staticPodPath to /${places.manifests}`)
  return warnings
}

async function staticPodPathOf(file: string): Promise<unknown> {
  try {
    return (parse((await readState(file))?.text ?? '') as { staticPodPath?: unknown } | null)?.staticPodPath
  } catch {
    return undefined
  }
}
