import { chown, mkdir } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { explainAccess, makeDirectory, removeFile, removeIfEmpty, removeTree, writeStateBeside } from '../../install/files.ts'
import type { NodeTools } from '../host/tools.ts'
import { places } from '../layout.ts'
import { nameOfStep } from './describe.ts'
import type { NodePlan, NodeStep } from './plan.ts'
import { keptPath, makeStateDirectory, writeRecord } from './record.ts'

/** A step that failed. What was done before it stays, and the next apply goes on from there. */
export class NodeStepFailed extends Error {
  override readonly name = 'NodeStepFailed'
}

/** Takes the steps of a plan, one after each `next`. The node may be left after any of them. */
export async function* takeSteps(root: string, { steps }: NodePlan, tools: NodeTools): AsyncGenerator<NodeStep, void> {
  for (const [index, step] of steps.entries()) {
    try {
      await takeStep(root, step, tools)
    } catch (cause) {
      const { message } = explained(root, step, cause)
      const place = `step ${index + 1} of ${steps.length}, ${nameOfStep(step)}`
      throw new NodeStepFailed(
        `${place}: ${message}\nWhat was done before stays, and the node pulls as before: mend this, and apply again`,
        {
          cause
        }
      )
    }
    yield step
  }
}

async function takeStep(root: string, step: NodeStep, tools: NodeTools): Promise<void> {
  const path = 'path' in step ? join(root, step.path) : root
  switch (step.kind) {
    case 'import image':
      return tools.images?.import(step.reference, step.archive)
    case 'make directory':
      await makeParents(root, step.path)
      await mkdir(path, { mode: step.mode, recursive: true })
      return own(path, step)
    case 'remove tree':
      return removeTree(path)
    case 'give directory':
      return own(path, step)
    case 'keep':
      return write(root, keptPath(step.path), step.file)
    case 'forget':
    case 'clean':
    case 'remove':
      return removeFile(path)
    case 'record':
      return writeRecord(root, step.record)
    case 'remove record':
      return removeTree(join(root, places.state))
    case 'write':
    case 'give back':
      return write(root, step.path, step.after)
    case 'remove directory':
      return removeIfEmpty(path)
    case 'await':
      return tools.awaitServer?.(step.what, step.probed)
    case 'restart containerd':
      return tools.restartContainerd?.()
  }
}

async function write(root: string, path: string, state: Parameters<typeof writeStateBeside>[1]): Promise<void> {
  await makeParents(root, path)
  await writeStateBeside(join(root, path), state)
}

async function makeParents(root: string, path: string): Promise<void> {
  if (path.startsWith(`${places.state}/`)) await makeStateDirectory(root)
  await makeDirectory(join(root, dirname(path)), 0o755)
}

// Only root may give a directory to others, and others have no pods.
async function own(path: string, { uid, gid }: { uid: number; gid: number }): Promise<void> {
  if (process.geteuid?.() === 0) await chown(path, uid, gid)
}

const reasons: Readonly<Record<string, string>> = {
  ENOSPC: 'the disk is full',
  EDQUOT: 'the quota of the disk is used up',
  EROFS: 'the file system is mounted read-only'
}

function explained(root: string, step: NodeStep, cause: unknown): Error {
  const { code } = cause as NodeJS.ErrnoException
  const reason = code === undefined ? undefined : reasons[code]
  const path = 'path' in step ? join(root, step.path) : root
  if (reason) return new Error(`${path}: ${reason}`)
  const error = explainAccess(cause, 'the files of a node belong to root, run this as root')
  return error instanceof Error ? error : new Error(String(error))
}
