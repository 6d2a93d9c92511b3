#!/usr/bin/env node
import { setTimeout as delay } from 'node:timers/promises'
import { Command, Option } from 'commander'
import pkg from '../package.json' with { type: 'json' }
import type { Registry } from './app/server.ts'
import type { HostsOptions } from './commands/containerd.ts'
import { addOperations } from './commands/register.ts'

/** Exit codes: 0 done, 1 it failed, 2 the command line or the configuration is wrong, or what it names cannot be used before somebody does something. */
const failed = 1
const wrongUse = 2

const program = new Command('registry')
  .description('An OCI registry for the control plane of a Kubernetes cluster.')
  .version(pkg.version)
  .showHelpAfterError('(--help tells what there is)')
  .exitOverride(error => process.exit(error.exitCode === 0 ? 0 : wrongUse))
  .addHelpText(
    'after',
    `
Examples:
  registry serve                                 a registry with the defaults
  registry serve --config /etc/registry.yaml
  registry config check /etc/registry.yaml       exit code 2 and one line per fault
  registry status --config /etc/registry.yaml    ask the running registry
  registry log-level debug --config /etc/registry.yaml
  registry why registry.d8-system.svc:5001/system/deckhouse:v1.70.0
                                                 why a pull works or does not, and what to do
  registry verify images.txt                     whether all images of a list are stored completely
  registry scrub                                 whether what is stored is what it should be
  registry du                                    what takes how much space
  registry gc --dry-run                          what nobody needs
  registry purge system/deckhouse:v1.69.0        take a tag away
  registry prefetch images.txt                   have a cache fetch a list of images
  registry containerd install --config /etc/registry.yaml --root /etc/containerd/registry.d

Without --config the file that REGISTRY_CONFIG names is read.`
  )

const withConfig = ['--config <file>', 'the configuration; without it the defaults, or the file that REGISTRY_CONFIG names'] as const

program
  .command('serve')
  .description('serve the registry until SIGTERM or SIGINT')
  .option(...withConfig)
  .action(async ({ config: file }: { config?: string }) => {
    const { loadConfig } = await import('../config/load.ts')
    const options = file === undefined ? {} : { file }
    const config = loadConfig(options)
    const [{ createLog }, { startRegistry }] = await Promise.all([import('./telemetry/log.ts'), import('./app/server.ts')])
    const log = createLog(config.log.level)
    const registry = await startRegistry(config, log, () => loadConfig(options))
    process.on('SIGHUP', () => void registry.reload())
    let stopping = false
    for (const signal of ['SIGTERM', 'SIGINT'] as const) {
      process.on(signal, () => {
        if (stopping) process.exit(failed)
        stopping = true
        registry.stop().then(
          async () => ((await returned(registry)) ? process.exit(0) : die()),
          error => fail(error)
        )
      })
    }
    // A fault of ours: the store survives kill -9 at any moment, so the static pod's restart is the safest answer.
    process.on('uncaughtException', error => {
      log.fatal({ err: error }, 'the process cannot go on')
      process.exit(failed)
    })
  })

const config = program.command('config').description('look at configurations')
config
  .command('check')
  .description('exit code 2 and one line per fault, if there are any')
  .argument('<file>')
  .action(async (file: string) => {
    await load(file)
    print(`${file} is valid`)
  })
config
  .command('effective')
  .description('the configuration with every default filled in and secrets hidden')
  .argument('[file]')
  .action(async (file?: string) => {
    const { renderConfig } = await import('../config/effective.ts')
    print(renderConfig(await load(file)).trimEnd())
  })
config
  .command('schema')
  .description('the JSON Schema of the configuration, for editors')
  .action(async () => {
    const { configSchema } = await import('../config/published.ts')
    print(configSchema().trimEnd())
  })

program
  .command('status')
  .description('what the registry says of itself, or what can be said of its store where none is running, as JSON')
  .option(...withConfig)
  .action(async (options: { config?: string }) => print(JSON.stringify(await status(options.config), null, 2)))

program
  .command('log-level')
  .description('change the log level of the running registry')
  .argument('<level>', 'trace, debug, info, warn, error, fatal or silent')
  .option(...withConfig)
  .action(async (level: string, options: { config?: string }) => {
    await control(options.config, 'PUT', '/log/level', { level })
    print(`the log level is ${level}`)
  })

addOperations(program, {
  load,
  openOffline: async config => (await import('./app/offline.ts')).openOffline(config),
  async *copyBetween(from, to, signal) {
    const { copyBetween } = await import('./app/copy-storage.ts')
    yield* copyBetween(from, to, signal)
  }
})

const containerd = program.command('containerd').description("the files by which a node's containerd finds this registry")
const root = ['--root <directory>', "containerd's config_path", '/etc/containerd/registry.d'] as const
for (const command of [
  containerd.command('hosts').description('print the files'),
  containerd
    .command('install')
    .description('write the files; what stands in their way is kept for restore, and what is not ours is left alone')
    .option(...root)
    .option('--dry-run', 'say what would change, and change nothing')
]) {
  command
    .option(...withConfig)
    .addOption(new Option('--format <format>', 'whose containerd reads them').choices(['stock', 'deckhouse']).default('stock'))
    .option('--from <file>', 'the configuration before a change: its mirrors are kept and come first')
    .option('--oldest <version>', 'the oldest containerd that reads them', '1.6')
    .addOption(new Option('--leaving <leaving>', 'whether stock containerd may go on to the host itself').choices(['refused', 'allowed']))
    .option('--dial-timeout <duration>', 'how long a connection may take, such as 1s')
    .option('--mirror <host:port>', 'where a node reaches this registry; without it what server.listen says')
    .option('--ca <file>', "the authority of this registry's certificate")
    .option('--username <name>', 'the user that containerd is')
    .option('--password-file <file>', "the user's password")
    .action(({ root, ...options }: ContainerdOptions) => containerdFiles(options, root))
}
containerd
  .command('restore')
  .description('take our files out and bring back what stood there before the first install')
  .option(...root)
  .option('--dry-run', 'say what would change, and change nothing')
  .action(async ({ root, dryRun }: { root: string; dryRun?: true }) => {
    const { restoreHosts } = await import('./commands/containerd.ts')
    process.stdout.write(await restoreHosts(root, dryRun && 'plan'))
  })

type ContainerdOptions = Omit<HostsOptions, 'from'> & { config?: string; from?: string; root?: string; dryRun?: true }

async function containerdFiles({ config: file, from, dryRun, ...options }: ContainerdOptions, root: string | undefined): Promise<void> {
  const { hostDirectories, installHosts, printed } = await import('./commands/containerd.ts')
  const before = from === undefined ? {} : { from: await load(from) }
  const directories = await hostDirectories(await load(file), { ...options, ...before })
  process.stdout.write(root === undefined ? printed(directories) : await installHosts(directories, root, dryRun && 'plan'))
}

async function load(file: string | undefined) {
  const { loadConfig } = await import('../config/load.ts')
  return loadConfig(file === undefined ? {} : { file })
}

async function control(file: string | undefined, method: 'GET' | 'PUT', path: string, body?: unknown): Promise<unknown> {
  const { server } = await load(file)
  const { callControl } = await import('./ports/control-client.ts')
  return callControl(server.control, method, path, body)
}

async function status(file: string | undefined): Promise<object> {
  const config = await load(file)
  const { callControl, NotRunning } = await import('./ports/control-client.ts')
  try {
    return (await callControl(config.server.control, 'GET', '/status')) as object
  } catch (error) {
    if (!(error instanceof NotRunning)) throw error
    const { openOffline } = await import('./app/offline.ts')
    await using tree = await openOffline(config)
    return await tree.status()
  }
}

// Files that nobody waits for may still be about to be closed.
async function returned(registry: Registry): Promise<boolean> {
  for (let looks = 0; registry.hanging && looks < mostLooks; looks++) await delay(100)
  return !registry.hanging
}

const mostLooks = 30

// An orderly exit waits for all threads, and one hangs in a call to the disk.
function die(): void {
  process.emit('exit', failed)
  process.kill(process.pid, 'SIGKILL')
}

function print(text: string): void {
  process.stdout.write(`${text}\n`)
}

const wrongUses = new Set(['ConfigError', 'WrongUse', 'UnusableError'])

function fail(error: unknown): void {
  const { name, message, code } = error as NodeJS.ErrnoException
  process.stderr.write(`${message}\n`)
  // A service that does not answer holds no thread.
  if (code === 'ESTALLED' && !('s3Code' in (error as Error))) die()
  else process.exit(wrongUses.has(name) ? wrongUse : failed)
}

program.parseAsync().catch(fail)
