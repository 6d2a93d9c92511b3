import { dirname, join, resolve } from 'node:path'
import { explainAccess, list, makeDirectory, removeFile, removeIfEmpty, removeTree, writeState } from './files.ts'
import {
  backupDirectory,
  backupName,
  isSameOwnership,
  type OwnedDirectory,
  type Ownership,
  ownDirectory,
  tempDirectory,
  writeOwnership
} from './owned.ts'
import { type InstallPlan, isUpToDate, planInstall, type RefersToOthers } from './plan.ts'

/** Where an install writes, and how. */
export interface InstallOptions {
  root: string
  /** `plan` changes nothing. */
  only?: 'plan'
  refersToOthers: RefersToOthers
  /** Added to an error of missing permission: what to do about it. */
  accessHint: string
}

/**
 * Makes the root hold these files, and no others that an earlier install wrote; foreign files stay. A foreign file in
 * the place of an owned one is backed up, and given back once it is owned no longer. May be interrupted anywhere: the
 * next call completes it. Not safe against a second call at the same time.
 */
export async function install(directories: readonly OwnedDirectory[], options: InstallOptions): Promise<InstallPlan> {
  const { only, refersToOthers, accessHint } = options
  try {
    const plan = await planInstall(resolve(options.root), directories, refersToOthers)
    if (only === undefined) for await (const _ of applySteps(plan));
    return plan
  } catch (error) {
    throw explainAccess(error, accessHint)
  }
}

/** Removes every owned file and gives back what was there before the first install. */
export async function restore(options: InstallOptions): Promise<InstallPlan> {
  const plan = await install([], options)
  try {
    if (options.only === undefined) await removeTree(join(plan.root, ownDirectory))
    return plan
  } catch (error) {
    throw explainAccess(error, options.accessHint)
  }
}

/**
 * Applies the plan. After each yielded step the root is in a state from which an install can continue. The order is
 * back up, claim in the record, write: an owned file without a backup therefore never replaced a foreign one.
 */
export async function* applySteps(plan: InstallPlan): AsyncGenerator<string, void> {
  const { root, backups, changes, leaving, ownership } = plan
  const temp = tempDirectory(root)
  yield* removeStale(root, ownership.before)
  if (isUpToDate(plan)) return
  for (const { from, to, file } of backups) {
    await makeDirectory(dirname(to), 0o700)
    await writeState(to, file, temp)
    yield `back up ${from}`
  }
  if (!isSameOwnership(ownership.before, ownership.during)) {
    await writeOwnership(root, ownership.during)
    yield 'claim'
  }
  for (const { kind, path, after } of changes) {
    if (after === undefined) await removeFile(path)
    else {
      await makeDirectory(dirname(path), 0o755)
      await writeState(path, after, temp)
    }
    yield `${kind} ${path}`
  }
  for (const path of leaving) {
    await removeIfEmpty(path)
    yield `remove ${path}`
  }
  if (!isSameOwnership(ownership.during, ownership.after)) {
    await writeOwnership(root, ownership.after)
    yield 'settle'
  }
  yield* removeStale(root, ownership.after)
}

// Temp files of an interrupted run, and backups of files that are owned no longer: a later restore must not use those.
async function* removeStale(root: string, ownership: Ownership): AsyncGenerator<string, void> {
  if ((await list(join(root, ownDirectory))).includes('tmp')) await removeTree(tempDirectory(root))
  const owned = new Map([...ownership].map(([name, { files }]) => [backupName(name), files]))
  const backups = backupDirectory(root)
  for (const name of await list(backups)) {
    for (const file of await list(join(backups, name))) {
      if (owned.get(name)?.includes(file)) continue
      await removeFile(join(backups, name, file))
      yield `forget ${name}/${file}`
    }
    await removeIfEmpty(join(backups, name))
  }
}
