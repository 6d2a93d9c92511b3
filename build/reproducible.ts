import { execFile } from 'node:child_process'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { cacheOf } from './program.ts'
import { type LastingCommand, startFlags } from './warm-up.ts'

// Modules that the environment loads into every process would be in the cache.
const run = (args: readonly string[]) => promisify(execFile)('env', ['-u', 'NODE_OPTIONS', process.execPath, ...args])

// Strings are hashed with a seed that is random in each process, and the cache has them in the order of their hashes.
// Without --predictable other threads of V8 decide what is in it too.
const seeds = ['--hash-seed=1', '--random-seed=1', '--predictable']

/** Writes a cache of the script that has the same bytes in every build, in any folder; a start is a fifth slower than with `warmUp`. */
export async function cacheReproducibly(script: string, command: LastingCommand): Promise<void> {
  await rm(cacheOf(script), { force: true })
  await run([...seeds, ...startFlags, join(import.meta.dirname, 'load.ts'), script, command])
  await run([...startFlags, join(import.meta.dirname, 'adopt.ts'), script])
}
