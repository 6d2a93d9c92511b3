import type { Command } from 'commander'
import type { Config } from '../../config/schema.ts'
import type { StorageCopyEvent } from '../operations/copy-storage.ts'
import type { GcFlags } from './gc.ts'
import type { PrefetchFlags } from './prefetch.ts'
import type { PurgeFlags } from './purge.ts'
import type { CommandContext, OpenedOffline } from './run-operation.ts'
import type { VerifyFlags } from './verify.ts'
import type { WhyFlags } from './why.ts'

/** What the composition root gives the commands; each is loaded on its first use. */
export interface CommandDeps {
  load(file: string | undefined): Promise<Config>
  openOffline(config: Config): Promise<OpenedOffline>
  copyBetween(from: Config, to: Config, signal: AbortSignal): AsyncIterable<StorageCopyEvent>
}

interface CommonOptions {
  config?: string
  json?: true
}

const failed = 1
/** The option that every command has. */
export const withConfig = ['--config <file>', 'the configuration; without it the defaults, or the file that REGISTRY_CONFIG names'] as const
const withJson = ['--json', 'one JSON object a line, which is also what anything but a terminal gets'] as const
const referenceList = 'references, or files of them, one a line; - is the standard input'

/** Adds the commands for operations. */
export function addOperations(program: Command, deps: CommandDeps): void {
  addWhy(program, deps)
  addUpkeep(program, deps)
  addCopyStorage(program, deps)
}

// Both only ask, so that an interrupt may end them at once.
function addWhy(program: Command, deps: CommandDeps): void {
  program
    .command('why')
    .description('why a pull works or does not, as the running registry sees it; exit code 0 if it works')
    .argument('<reference>', 'as it stands in a pod: <host>/<repository>:<tag> or …@<digest>')
    .option(...withConfig)
    .option('--json', 'everything that was found, as JSON')
    .option('--quick', 'leave out the digests of stored blobs, which takes reading them')
    .action(async (reference: string, options: CommonOptions & WhyFlags) => {
      const { why } = await import('./why.ts')
      if (!(await why(reference, options, await contextOf(options, deps, neverAborted())))) process.exitCode = failed
    })
  program
    .command('verify')
    .description('whether every manifest and blob of a set is stored here; exit code 0 if all are')
    .argument('<references...>', referenceList)
    .option(...withConfig)
    .option(...withJson)
    .option('--deep', 'compute the digest of every blob, which takes reading all of them')
    .action(async (words: string[], options: CommonOptions & VerifyFlags) => {
      const { verify } = await import('./verify.ts')
      if (!(await verify(words, options, await contextOf(options, deps, neverAborted())))) process.exitCode = failed
    })
}

function addUpkeep(program: Command, deps: CommandDeps): void {
  const command = (name: string, description: string): Command =>
    program
      .command(name)
      .description(`${description}. Asks the running registry; where none runs, works on its storage itself.`)
      .option(...withConfig)
      .option(...withJson)
  const context = (options: CommonOptions) => contextOf(options, deps, interruptSignal())

  command('gc', 'remove unreferenced and expired content')
    .option('--dry-run', 'print what would be removed, and remove nothing')
    .action(async (options: CommonOptions & GcFlags) => {
      const { gc } = await import('./gc.ts')
      await gc(options, await context(options))
    })
  command('scrub', 'verify what is stored, quarantine what is damaged, check all that refers to it; exit code 0 if no damage is left')
    .argument('[repository]', 'all of them without it')
    .action(async (name: string | undefined, options: CommonOptions) => {
      const { scrub } = await import('./scrub.ts')
      if (!(await scrub(name, await context(options)))) process.exitCode = failed
    })
  command('du', 'what each repository takes on disk: all together, its own, and shared with others').action(
    async (options: CommonOptions) => {
      const { du } = await import('./du.ts')
      await du(await context(options))
    }
  )
  command('purge', 'remove a repository, a tag or a digest, whether it was cached or pushed')
    .argument('<name[:tag|@digest]>', 'written without a host, as in the catalog')
    .option('--yes', 'also what was pushed, which cannot be fetched again')
    .action(async (target: string, options: CommonOptions & PurgeFlags) => {
      const { purge } = await import('./purge.ts')
      await purge(target, options, await context(options))
    })
  command('prefetch', 'have the cache fetch images before they are requested; exit code 0 if all are stored')
    .argument('<references...>', referenceList)
    .option('--platform <os/architecture...>', 'of indexes only these; without it all')
    .option('--at-once <n>', 'downloads at once', '4')
    .option('--pin', 'also keep them: the references are added to the file that cache.pinFile names')
    .action(async (words: string[], options: CommonOptions & PrefetchFlags) => {
      const { prefetch } = await import('./prefetch.ts')
      if (!(await prefetch(words, options, await context(options)))) process.exitCode = failed
    })
}

function addCopyStorage(program: Command, { load, copyBetween }: CommandDeps): void {
  program
    .command('copy-storage')
    .description(
      'copy everything that is stored to another directory or bucket, verified; what is there already is passed over, so that it can be interrupted and run again'
    )
    .requiredOption('--from <file>', 'a configuration with the storage to copy from')
    .requiredOption('--to <file>', 'a configuration with the storage to copy to')
    .option(...withJson)
    .action(async ({ from, to, json }: { from: string; to: string; json?: true }) => {
      const [source, target] = [await load(from), await load(to)]
      const { copyStorage } = await import('./copy-storage.ts')
      const [output, signal] = [await outputOf(json), interruptSignal()]
      if (!(await copyStorage(copyBetween(source, target, signal), { output, signal }))) process.exitCode = failed
    })
}

async function contextOf({ config: file, json }: CommonOptions, deps: CommandDeps, signal: AbortSignal): Promise<CommandContext> {
  const config = await deps.load(file)
  const { operations } = await import('../operations/operations.ts')
  return { config, operations, openOffline: () => deps.openOffline(config), output: await outputOf(json), signal }
}

/** Where a command prints: text on a terminal, else JSON. */
export async function outputOf(json: true | undefined): Promise<CommandContext['output']> {
  const { drawProgressOn } = await import('./output.ts')
  const form = json || !process.stdout.isTTY ? 'json' : 'text'
  return {
    form,
    print: text => void process.stdout.write(text),
    ...(form === 'text' && process.stderr.isTTY && { progress: drawProgressOn(process.stderr) })
  }
}

const neverAborted = (): AbortSignal => new AbortController().signal

/** Aborted when the user interrupts the command. A second signal ends the process at once. */
export function interruptSignal(): AbortSignal {
  const interrupted = new AbortController()
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => interrupted.abort())
  return interrupted.signal
}
