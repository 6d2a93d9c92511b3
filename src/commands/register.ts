import type { Command } from 'commander'
import type { Config } from '../../config/schema.ts'
import type { GcOptions } from './gc.ts'
import type { PrefetchFlags } from './prefetch.ts'
import type { PurgeOptions } from './purge.ts'
import type { CommandContext } from './run-operation.ts'

type Load = (file: string | undefined) => Promise<Config>
type Common = { config?: string; json?: true }

const failed = 1
const bothWays = 'Asks the running registry; where none runs, works on its directory itself.'

/** Adds the commands for long work on what is stored. */
export function addUpkeep(program: Command, load: Load): void {
  const command = (name: string, description: string): Command =>
    program
      .command(name)
      .description(`${description}. ${bothWays}`)
      .option('--config <file>', "the server's configuration; without it the defaults, or the file that REGISTRY_CONFIG names")
      .option('--json', 'one JSON object a line, which is also what anything but a terminal gets')

  command('gc', 'remove what nobody needs')
    .option('--dry-run', 'say what would go, and remove nothing')
    .action(async (options: Common & GcOptions) => {
      const { gc } = await import('./gc.ts')
      await gc(options, await around(options, load))
    })
  command('scrub', 'read what is stored, set aside what is damaged, check all that refers to it; exit code 0 if nothing is left to mend')
    .argument('[repository]', 'all of them without it')
    .action(async (name: string | undefined, options: Common) => {
      const { scrub } = await import('./scrub.ts')
      if (!(await scrub(name, await around(options, load)))) process.exitCode = failed
    })
  command('du', 'what each repository takes on disk: all together, its own, and shared with others').action(async (options: Common) => {
    const { du } = await import('./du.ts')
    await du(await around(options, load))
  })
  command('purge', 'take a repository, a tag or a digest away, whether it was cached or pushed')
    .argument('<name[:tag|@digest]>', 'written without a host, as in the catalog')
    .option('--yes', 'also what was pushed, which cannot be fetched again')
    .action(async (target: string, options: Common & PurgeOptions) => {
      const { purge } = await import('./purge.ts')
      await purge(target, options, await around(options, load))
    })
  command('prefetch', 'have the cache fetch images before they are asked for; exit code 0 if all are stored')
    .argument('<references...>', 'references, or files of them, one a line; - is the standard input')
    .option('--platform <os/architecture...>', 'of indexes only these; without it all')
    .option('--at-once <n>', 'downloads at once', '4')
    .option('--pin', 'also keep them: the references are added to the file that cache.pinFile names')
    .action(async (given: string[], options: Common & PrefetchFlags) => {
      const { prefetch } = await import('./prefetch.ts')
      if (!(await prefetch(given, options, await around(options, load)))) process.exitCode = failed
    })

  program
    .command('copy-storage')
    .description(
      'copy everything that is stored to another directory or bucket, verified; what is there already is passed over, so that it can be broken off and run again'
    )
    .requiredOption('--from <file>', 'a configuration with the storage to copy from')
    .requiredOption('--to <file>', 'a configuration with the storage to copy to')
    .option('--json', 'one JSON object a line, which is also what anything but a terminal gets')
    .action(async ({ from, to, json }: { from: string; to: string; json?: true }) => {
      const [source, target] = [await load(from), await load(to)]
      const [{ copyBetween }, { showCopy }] = await Promise.all([import('../app/copy-storage.ts'), import('./copy-storage.ts')])
      const { output, signal } = await surroundings(json)
      if (!(await showCopy(copyBetween(source, target, signal), output, signal))) process.exitCode = failed
    })
}

async function around({ config: file, json }: Common, load: Load): Promise<CommandContext> {
  const config = await load(file)
  return {
    config,
    openOffline: async () => (await import('../app/offline.ts')).openOffline(config),
    ...(await surroundings(json))
  }
}

async function surroundings(json: true | undefined): Promise<Pick<CommandContext, 'output' | 'signal'>> {
  const { drawProgressOn } = await import('./output.ts')
  const interrupted = new AbortController()
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    // The second one means it.
    process.once(signal, () => interrupted.abort())
  }
  const form = json || !process.stdout.isTTY ? 'json' : 'text'
  return {
    output: {
      form,
      print: text => void process.stdout.write(text),
      ...(form === 'text' && process.stderr.isTTY && { progress: drawProgressOn(process.stderr) })
    },
    signal: interrupted.signal
  }
}
