#!/usr/bin/env node
import { Command } from 'commander'
import pkg from '../package.json' with { type: 'json' }

/** Exit codes: 0 done, 1 it failed, 2 the command line or the configuration is wrong. */
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

Without --config the file that REGISTRY_CONFIG names is read.`
  )

const withConfig = ['--config <file>', 'the configuration; without it the defaults, or the file that REGISTRY_CONFIG names'] as const

program
  .command('serve')
  .description('serve the registry until SIGTERM or SIGINT')
  .option(...withConfig)
  .action(async ({ config: file }: { config?: string }) => {
    const config = await load(file)
    const [{ createLog }, { startRegistry }] = await Promise.all([import('./telemetry/log.ts'), import('./server.ts')])
    const log = createLog(config.log.level)
    const registry = await startRegistry(config, log)
    let stopping = false
    for (const signal of ['SIGTERM', 'SIGINT'] as const) {
      process.on(signal, () => {
        if (stopping) process.exit(failed)
        stopping = true
        registry.stop().then(
          () => process.exit(0),
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
  .description('what the running registry says of itself, as JSON')
  .option(...withConfig)
  .action(async (options: { config?: string }) => print(JSON.stringify(await control(options.config, 'GET', '/status'), null, 2)))

program
  .command('log-level')
  .description('change the log level of the running registry')
  .argument('<level>', 'trace, debug, info, warn, error, fatal or silent')
  .option(...withConfig)
  .action(async (level: string, options: { config?: string }) => {
    await control(options.config, 'PUT', '/log/level', { level })
    print(`the log level is ${level}`)
  })

async function load(file: string | undefined) {
  const { loadConfig } = await import('../config/load.ts')
  return loadConfig(file === undefined ? {} : { file })
}

async function control(file: string | undefined, method: 'GET' | 'PUT', path: string, body?: unknown): Promise<unknown> {
  const { server } = await load(file)
  const { callControl } = await import('./ports/control.ts')
  return callControl(server.control, method, path, body)
}

function print(text: string): void {
  process.stdout.write(`${text}\n`)
}

function fail(error: unknown): never {
  const { name, message } = error as Error
  process.stderr.write(`${message}\n`)
  process.exit(name === 'ConfigError' ? wrongUse : failed)
}

program.parseAsync().catch(fail)
