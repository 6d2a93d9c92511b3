import type { FileState } from '../../install/files.ts'
import type { Probed } from '../host/probe.ts'
import { type NodeFile, type Phase, phases, places, podUser } from '../layout.ts'
import { leavingDirectories, type NodeOwnership, ownershipOf } from './ownership.ts'
import { type Applied, digestOfState, isSame, keptPath, type NodeRecord, noRecord, printRecord } from './record.ts'

/** One change of a node; paths are relative to its root. */
export type NodeStep =
  | { kind: 'import image'; reference: string; archive: string }
  | { kind: 'make directory'; path: string; mode: number; uid: number; gid: number }
  | { kind: 'give directory'; path: string; uid: number; gid: number }
  | { kind: 'remove tree'; path: string }
  | { kind: 'keep'; path: string; file: FileState }
  | { kind: 'forget'; path: string }
  | { kind: 'clean'; path: string }
  | { kind: 'record'; what: 'claim' | 'settle'; record: NodeRecord }
  | { kind: 'remove record' }
  | { kind: 'write'; path: string; before?: FileState; after: FileState }
  | { kind: 'give back'; path: string; before?: FileState; after: FileState }
  | { kind: 'remove'; path: string; before?: FileState }
  | { kind: 'remove directory'; path: string }
  | { kind: 'await'; what: string; probed: Probed }
  | { kind: 'restart containerd' }

/** Everything that an apply will do, in order. */
export interface NodePlan {
  steps: readonly NodeStep[]
  /** Why nothing can be done, and what to do; a line each. With one of them no step is taken. */
  blockers: readonly string[]
  warnings: readonly string[]
}

/** What a node should have. */
export interface NodeWants {
  files: readonly NodeFile[]
  /** A foreign file in which settings are changed. */
  edited?: { path: string; text: string }
  image?: { reference: string; archive: string | undefined }
  data?: { path: string; uid: number; gid: number }
  /** Whether there is an agent, which keeps something itself. */
  agent: boolean
  waits: readonly { what: string; probed: Probed }[]
  applied?: Applied
  /** Whether foreign files in the place of wanted ones are replaced, and kept. */
  replace: boolean
}

/** What was found on a node. */
export interface NodeFound {
  record: NodeRecord
  /** The state of each wanted and each recorded file that exists. */
  files: ReadonlyMap<string, FileState>
  /** The kept file of each path that has one. */
  kept: ReadonlyMap<string, FileState>
  /** What interrupted runs left: temporary files, and kept files of paths that are not recorded. */
  leftovers: readonly string[]
  stale: readonly string[]
  /** The directories that wanted files lie in and that do not exist, parents first. */
  missing: readonly string[]
  /** Whether containerd has the image; undefined: it was not asked. */
  image: boolean | undefined
  data: 'absent' | 'foreign and empty' | 'usable'
  /** The directory in which the agent keeps something. */
  agentState: 'absent' | 'foreign' | 'usable'
  blockers: readonly string[]
  warnings: readonly string[]
  /** Whether this process may give files to others. */
  root: boolean
}

/**
 * The steps that make a node what is wanted. Each prefix of them leaves a node that can pull: what containerd is told
 * comes last, after all that it needs is there and answers, and goes first where it is no longer wanted.
 */
export function planNode(wants: NodeWants, found: NodeFound): NodePlan {
  const wanted = wantedStates(wants, found)
  const { writes, keeps, foreign } = planWrites(wanted, wants, found)
  const releases = planReleases(wanted, found)
  const setting = found.record.restart || writes.some(({ edited }) => edited)
  const ownership = ownershipOf(wanted, { applied: wants.applied, restart: setting || releases.restart }, found)
  const body: NodeStep[] = [
    ...importSteps(wants, found),
    ...dataSteps(wants, found),
    ...(wants.agent && found.agentState !== 'usable' ? [agentStateStep] : []),
    ...ordered(writes, wants),
    ...(setting && !releases.restart ? [restartStep] : []),
    ...releases.steps,
    ...(!wants.agent && found.agentState !== 'absent' ? [{ kind: 'remove tree', path: places.agentState } as const] : []),
    ...leavingDirectories(ownership.after, found.record)
  ]
  const unknown = body.some(({ kind }) => kind === 'import image') && wants.image?.archive === undefined
  const blockers = [...found.blockers, ...foreign, ...(unknown ? [missingArchive(wants)] : [])]
  const steps = blockers.length > 0 ? [] : framed(body, keeps, ownership, found)
  return { steps, blockers, warnings: [...found.warnings, ...releases.warnings] }
}

const restartStep: NodeStep = { kind: 'restart containerd' }
const agentStateStep: NodeStep = { kind: 'make directory', path: places.agentState, mode: 0o700, uid: podUser, gid: podUser }

/** What a file should be. */
export interface WantedState {
  phase: Phase
  state: FileState
  edited: boolean
}

function wantedStates({ files, edited }: NodeWants, { root, files: found }: NodeFound): Map<string, WantedState> {
  const states = new Map<string, WantedState>()
  for (const { path, phase, text, mode, gid } of files) {
    const state: FileState = { kind: 'file', text: Buffer.from(text).toString('latin1'), mode, ...(root ? { uid: 0, gid } : {}) }
    states.set(path, { phase, state, edited: false })
  }
  if (edited) {
    const { mode = 0o644, uid, gid } = found.get(edited.path) ?? {}
    const owner = uid === undefined || gid === undefined ? {} : { uid, gid }
    const state: FileState = { kind: 'file', text: Buffer.from(edited.text).toString('latin1'), mode, ...owner }
    states.set(edited.path, { phase: 'hosts', state, edited: true })
  }
  return states
}

type Write = Extract<NodeStep, { kind: 'write' }> & { phase: Phase; edited: boolean }

function planWrites(wanted: ReadonlyMap<string, WantedState>, { replace }: NodeWants, { files, record }: NodeFound) {
  const writes: Write[] = []
  const keeps: NodeStep[] = []
  const foreign: string[] = []
  for (const [path, { phase, state, edited }] of wanted) {
    const before = files.get(path)
    const owned = record.files.has(path)
    const same = before !== undefined && isSame(before, state)
    if (before && !owned) {
      if (!same && !edited && !replace)
        foreign.push(`/${path} is there and was not written by apply: move it away, or apply with --replace, which keeps it for restore`)
      // As long as nothing is changed in it, it stays foreign.
      if (!edited || !same) keeps.push({ kind: 'keep', path, file: before })
    }
    if (!same) writes.push({ kind: 'write', path, phase, edited, after: state, ...(before ? { before } : {}) })
  }
  return { writes, keeps, foreign }
}

// In the order of the phases, with the waits before what containerd reads.
function ordered(writes: readonly Write[], { waits }: NodeWants): NodeStep[] {
  const rank = ({ phase, edited }: Write) => phases.indexOf(phase) + (edited ? 0.5 : 0)
  const sorted = writes.toSorted((a, b) => rank(a) - rank(b))
  const plain = ({ phase: _, edited: __, ...step }: Write): NodeStep => step
  const last = sorted.filter(({ phase }) => phase === 'hosts')
  const first = sorted.filter(({ phase }) => phase !== 'hosts')
  const needed = last.length > 0 || first.some(({ phase }) => phase === 'manifest')
  const awaits: NodeStep[] = needed ? waits.map(wait => ({ kind: 'await', ...wait })) : []
  return [...first.map(plain), ...awaits, ...last.map(plain)]
}

interface Releases {
  steps: NodeStep[]
  warnings: string[]
  /** Whether containerd's own file is among them: a restart follows it at once. */
  restart: boolean
}

function planReleases(wanted: ReadonlyMap<string, WantedState>, { record, files, kept }: NodeFound): Releases {
  const steps: NodeStep[] = []
  const warnings: string[] = []
  let restart = false
  const leaving = [...record.files].filter(([path]) => !wanted.has(path)).sort(([a], [b]) => phaseOf(b) - phaseOf(a) || (a < b ? -1 : 1))
  for (const [path, { digest, edited }] of leaving) {
    const before = files.get(path)
    if (edited && before && digestOfState(before) !== digest) {
      warnings.push(`/${path} was changed since apply set config_path in it: it is left alone, take the setting out yourself`)
      continue
    }
    const after = kept.get(path)
    const step = releaseOf(path, before, after)
    if (step) steps.push(step)
    if (step && edited) {
      steps.push(restartStep)
      restart = true
    }
  }
  return { steps, warnings, restart }
}

function releaseOf(path: string, before: FileState | undefined, after: FileState | undefined): NodeStep | undefined {
  const found = before ? { before } : {}
  if (after) return before && isSame(before, after) ? undefined : { kind: 'give back', path, after, ...found }
  return before ? { kind: 'remove', path, ...found } : undefined
}

// A record does not say the phase; the places do.
function phaseOf(path: string): number {
  if (path === places.containerdConfig) return phases.length
  if (path.endsWith('/hosts.toml')) return phases.indexOf('hosts')
  if (path.startsWith(`${places.manifests}/`)) return phases.indexOf('manifest')
  return path.endsWith('.crt') || path.endsWith('.key') ? phases.indexOf('pki') : phases.indexOf('configuration')
}

// What is owned is recorded before it is written, and given up after it is gone.
function framed(body: readonly NodeStep[], keeps: readonly NodeStep[], { during, after }: NodeOwnership, found: NodeFound): NodeStep[] {
  const { record, leftovers, stale, kept } = found
  const clean: NodeStep[] = [
    ...leftovers.map(path => ({ kind: 'clean', path }) as const),
    ...stale.map(path => ({ kind: 'forget', path }) as const)
  ]
  const [start, middle, end] = [printRecord(record), printRecord(during), printRecord(after)]
  const claim: NodeStep[] =
    middle === start || (body.length === 0 && keeps.length === 0) ? [] : [{ kind: 'record', what: 'claim', record: during }]
  const settled = claim.length > 0 ? middle : start
  const settle: NodeStep[] =
    settled === end ? [] : after === noRecord ? [{ kind: 'remove record' }] : [{ kind: 'record', what: 'settle', record: after }]
  const given =
    after === noRecord
      ? []
      : [...kept.keys()].filter(path => !after.files.has(path)).map(path => ({ kind: 'forget', path: keptPath(path) }) as const)
  return [...clean, ...keeps, ...claim, ...body, ...settle, ...given]
}

function importSteps({ image }: NodeWants, found: NodeFound): NodeStep[] {
  if (!image || found.image !== false) return []
  return [{ kind: 'import image', reference: image.reference, archive: image.archive ?? '' }]
}

const missingArchive = ({ image }: NodeWants): string =>
  `containerd does not have ${image?.reference}: name its archive (image.archive), or import it with ctr --namespace k8s.io images import`

function dataSteps({ data }: NodeWants, found: NodeFound): NodeStep[] {
  if (!data || found.data === 'usable') return []
  if (found.data === 'absent') return [{ kind: 'make directory', ...data, mode: 0o700 }]
  return found.root ? [{ kind: 'give directory', ...data }] : []
}
