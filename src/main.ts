#!/usr/bin/env node
import { Command } from 'commander'
import pkg from '../package.json' with { type: 'json' }
import { die, runUntilSignal } from './app/shared/until-signal.ts'
import { addOperations, withConfig } from './commands/register.ts'
import { addContainerd } from './commands/register-containerd.ts'
import { addController } from './commands/register-controller.ts'
import { addMirror } from './commands/register-mirror.ts'
import { addNode } from './commands/register-node.ts'

/**
 * Exit codes: 0 done, 1 failed, 2 the command line or the configuration is wrong, or a file or service that it names
 * cannot be used, 141 the reader of the output has left.
 */
const failed = 1
const wrongUse = 2
const readerLeft = 128 + 13

const program = new Command('registry')
  .description('An OCI registry for the control plane of a Kubernetes cluster.')
  .version(pkg.version)
  .showHelpAfterError('(--help lists the commands and options)')
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
  registry scrub                                 whether what is stored is damaged
  registry du                                    what takes how much space
  registry gc --dry-run                          what garbage collection would remove
  registry purge system/deckhouse:v1.69.0        remove a tag
  registry prefetch images.txt                   have a cache fetch a list of images
  registry agent --config /etc/registry-agent.yaml
  registry cluster status                        where a switch of the cluster stands, by a kubeconfig
  registry controller --image registry.d8-system.svc:5001/system/deckhouse/registry:v1
                                                 on every node: any replica serves its pulls
  registry mirror push bundle/ --to registry.example.com/system/deckhouse
                                                 images for a cluster without a way out, from archives of d8 mirror
  registry containerd install --config /etc/registry.yaml --root /etc/containerd/registry.d
  registry node plan --config node.yaml          what it takes to make this machine a node of the registry

Without --config the file that REGISTRY_CONFIG names is read.`
  )

program
  .command('serve')
  .description('serve the registry until SIGTERM or SIGINT')
  .option(...withConfig)
  .option('--node-ip <address>', 'listen on this address, with the ports of server.listen and server.admin')
  .action(async ({ config: file, nodeIp: nodeIP }: { config?: string; nodeIp?: string }) => {
    const { loadConfig } = await import('../config/load.ts')
    const options = { ...(file === undefined ? {} : { file }), ...(nodeIP === undefined ? {} : { nodeIP }) }
    const config = loadConfig(options)
    const [{ createLog }, { startRegistry }] = await Promise.all([import('./telemetry/log.ts'), import('./app/server.ts')])
    const log = createLog(config.log.level)
    await runUntilSignal(
      startRegistry(config, log, () => loadConfig(options)),
      log,
      fail
    )
  })

program
  .command('agent')
  .description('serve the pulls of this node from any replica of a registry, until SIGTERM or SIGINT')
  .requiredOption('--config <file>', 'the configuration of the agent')
  .option('--last-good <file>', 'where the last good configuration is kept, with its secrets; without it <file>.last-good')
  .action(async ({ config: file, lastGood }: { config: string; lastGood?: string }) => {
    const [{ createLog }, { loadOrLastGood, startAgent }] = await Promise.all([
      import('./telemetry/log.ts'),
      import('./app/agent/start.ts')
    ])
    const loaded = loadOrLastGood(file, lastGood)
    const log = createLog(loaded.config.log.level)
    await runUntilSignal(startAgent(loaded, log), log, fail)
  })

const config = program.command('config').description('look at configurations')
config
  .command('check')
  .description('exit code 2 and one line per fault, if there are any')
  .argument('<file>', 'the configuration of a registry or of an agent')
  .action(async (file: string) => {
    await renderFile(file)
    for (const warning of await warningsOf(file)) process.stderr.write(`warning: ${warning}\n`)
    print(`${file} is valid`)
  })
config
  .command('effective')
  .description('the configuration with every default filled in and secrets hidden')
  .argument('[file]', 'the configuration of a registry or of an agent')
  .action(async (file?: string) => print(await renderFile(file)))
config
  .command('schema')
  .description('the JSON Schema of the configuration, for editors')
  .option('--agent', 'that of the configuration of an agent')
  .action(async ({ agent }: { agent?: true }) => {
    const { configSchema } = await import('../config/published.ts')
    const { agentSchema } = await import('../config/agent/schema.ts')
    print((agent ? configSchema(agentSchema) : configSchema()).trimEnd())
  })

program
  .command('status')
  .description('the state of the running registry, or of its storage where none is running, as JSON')
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

addContainerd(program, load)
addNode(program)
addController(program, async ({ image, cloud, logLevel, ...flags }) => {
  const [{ createLog }, { adminAddress, clusterAccess, proxyOfEnvironment }, { startController }] = await Promise.all([
    import('./telemetry/log.ts'),
    import('./commands/controller.ts'),
    import('./app/controller/start.ts')
  ])
  const options = { access: clusterAccess(flags), admin: adminAddress(flags.admin), image, static: !cloud, proxy: proxyOfEnvironment() }
  const log = createLog(logLevel)
  await runUntilSignal(startController(options, log), log, fail)
})

addMirror(program, {
  connect: async (host, flags) => {
    const [{ connectRegistry }, { credentialsOf }] = await Promise.all([
      import('./app/mirror/connect-registry.ts'),
      import('./commands/mirror/flags.ts')
    ])
    return connectRegistry({
      host,
      scheme: flags.insecure ? 'http' : 'https',
      caFile: flags.tlsCa,
      credentials: await credentialsOf(flags),
      otherHosts: flags.otherHost,
      atOnce: Number(flags.atOnce)
    })
  },
  serve: async (bundle, plan, options) => {
    const [{ createLog }, { serveBundle }] = await Promise.all([import('./telemetry/log.ts'), import('./app/mirror/serve-bundle.ts')])
    const log = createLog('info')
    const served = await serveBundle(bundle, plan, { ...options, log })
    log.info({ listen: served.address, path: options.path, images: plan.images.length }, 'the bundle is served')
    return served
  }
})

async function load(file: string | undefined) {
  const { loadConfig } = await import('../config/load.ts')
  return loadConfig(file === undefined ? {} : { file })
}

/** The effective configuration of a file as text; throws a ConfigError with its faults. */
async function renderFile(file: string | undefined): Promise<string> {
  const { isAgentFile } = await import('../config/agent/recognize.ts')
  if (file !== undefined && isAgentFile(file)) {
    const { loadAgentConfig, renderAgentConfig } = await import('../config/agent/load.ts')
    return renderAgentConfig(loadAgentConfig(file)).trimEnd()
  }
  const { renderConfig } = await import('../config/effective.ts')
  return renderConfig(await load(file)).trimEnd()
}

async function warningsOf(file: string): Promise<string[]> {
  const [{ isAgentFile }, { configWarnings }] = await Promise.all([import('../config/agent/recognize.ts'), import('../config/warnings.ts')])
  return isAgentFile(file) ? [] : configWarnings(await load(file))
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
    await using offline = await openOffline(config)
    return await offline.status()
  }
}

function print(text: string): void {
  process.stdout.write(`${text}\n`)
}

const wrongUseErrors = new Set(['ConfigError', 'WrongUse', 'UnusableError'])

function fail(error: unknown): void {
  const { name, message, code } = error as NodeJS.ErrnoException
  process.stderr.write(`${message}\n`)
  // A remote service that does not answer blocks no thread.
  if (code === 'ESTALLED' && !('s3Code' in (error as Error))) die()
  else process.exit(wrongUseErrors.has(name) ? wrongUse : failed)
}

// The reader of a pipe has left, as `head` does: the end is quiet and its code that of other programs after SIGPIPE.
// What was begun is left as by an interrupt. An end of its own, and not 0, since not all was done or said.
for (const stream of [process.stdout, process.stderr])
  stream.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') process.exit(readerLeft)
    fail(error)
  })

program.parseAsync().catch(fail)
