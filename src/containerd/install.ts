import { dirname, join, resolve } from 'node:path'
import { explain, list, makeDirectory, place, removeFile, removeIfEmpty, removeTree } from './disk.ts'
import type { HostDirectory } from './hosts.ts'
import type { Plan } from './plan.ts'
import { backupPath, isSettled, planInstall } from './plan.ts'
import type { State } from './state.ts'
import { isSame, ownDirectory, writeState } from './state.ts'

/** Where the files go, and what becomes of a plan. */
export interface InstallOptions {
  /** containerd's `config_path`. */
  root: string
  /** `plan` changes nothing. */
  only?: 'plan'
}

/**
 * Makes the root hold these host directories, and none that an earlier install wrote and that left the list; whatever else is there stays. What stood in the
 * way is kept for `restore`, and is given back as well when its host leaves the list. It may be interrupted anywhere: the next call goes on. One at a time.
 */
export async function install(directories: readonly HostDirectory[], { root: given, only }: InstallOptions): Promise<Plan> {
  const root = resolve(given)
  try {
    const plan = await planInstall(root, directories)
    if (only === undefined) for await (const _ of steps(plan));
    return plan
  } catch (error) {
    throw explain(error)
  }
}

/** Takes everything of ours out of the root and puts back what stood there before the first install. */
export async function restore(options: InstallOptions): Promise<Plan> {
  const plan = await install([], options)
  try {
    if (options.only === undefined) await removeTree(join(plan.root, ownDirectory))
    return plan
  } catch (error) {
    throw explain(error)
  }
}

/**
 * Carries the plan out; after every value that it yields the root is one that an install can go on from. What is about to be ours is kept first, then
 * claimed, then written: so a file that is claimed and has no backup never was anybody else's.
 */
export async function* steps(plan: Plan): AsyncGenerator<string, void> {
  const { root, backups, changes, leaving, states } = plan
  const spare = join(root, ownDirectory, 'tmp')
  yield* sweep(root, states.before)
  if (isSettled(plan)) return
  for (const { from, to, file } of backups) {
    await makeDirectory(dirname(to), 0o700)
    await place(to, file, spare)
    yield `keep ${from}`
  }
  if (!isSame(states.before, states.during)) {
    await writeState(root, states.during)
    yield 'claim'
  }
  for (const { kind, path, after } of changes) {
    if (after === undefined) await removeFile(path)
    else {
      await makeDirectory(dirname(path), 0o755)
      await place(path, after, spare)
    }
    yield `${kind} ${path}`
  }
  for (const path of leaving) {
    await removeIfEmpty(path)
    yield `leave ${path}`
  }
  if (!isSame(states.during, states.after)) {
    await writeState(root, states.after)
    yield 'settle'
  }
  yield* sweep(root, states.after)
}

// Temp files of a run that was interrupted, and backups of what is not ours (any more): a later restore must not bring those back.
async function* sweep(root: string, state: State): AsyncGenerator<string, void> {
  await removeTreeIfThere(join(root, ownDirectory), 'tmp')
  const kept = join(root, ownDirectory, 'backup')
  for (const name of await list(kept)) {
    const files = state.get(name)?.files ?? []
    for (const file of await list(join(kept, name))) {
      if (files.includes(file)) continue
      await removeFile(backupPath(root, name, file))
      yield `forget ${name}/${file}`
    }
    await removeIfEmpty(join(kept, name))
  }
}

async function removeTreeIfThere(directory: string, name: string): Promise<void> {
  if ((await list(directory)).includes(name)) await removeTree(join(directory, name))
}
