import { type Command, Option } from 'commander'
import type { HostsOptions } from './containerd.ts'
import { type CommandDeps, withConfig } from './register.ts'

type ContainerdFlags = Omit<HostsOptions, 'from'> & { config?: string; from?: string; root?: string; dryRun?: true }

const withRoot = ['--root <directory>', "containerd's config_path", '/etc/containerd/registry.d'] as const

/** Adds the commands for the hosts files of containerd. */
export function addContainerd(program: Command, load: CommandDeps['load']): void {
  const containerd = program.command('containerd').description("the files by which a node's containerd finds this registry")
  for (const command of [
    containerd.command('hosts').description('print the files'),
    containerd
      .command('install')
      .description('write the files; the files that they replace are backed up for restore, and all others are left alone')
      .option(...withRoot)
      .option('--dry-run', 'print each file that would change and how, and change nothing; exit code 0')
  ]) {
    command
      .option('--config <file>', `${withConfig[1]}; that of an agent leads to it`)
      .addOption(new Option('--format <format>', 'whose containerd reads them').choices(['stock', 'deckhouse']).default('stock'))
      .option('--from <file>', 'the configuration before a change: its mirrors are kept and come first')
      .option('--oldest <version>', 'the oldest containerd that reads them', '1.6')
      .addOption(new Option('--leaving <leaving>', 'whether stock containerd may go on to the host itself').choices(['refused', 'allowed']))
      .option('--dial-timeout <duration>', 'how long a connection may take, such as 1s')
      .option('--mirror <host:port>', 'where a node reaches this registry; without it what server.listen says')
      .addOption(
        new Option('--agent [address]', 'the agent on the node, which stays the one mirror when the mode changes')
          .preset('https://127.0.0.1:5001')
          .conflicts(['mirror', 'replica', 'local', 'from'])
      )
      .addOption(
        new Option('--replica <host:port...>', 'without an agent: all replicas, in the order in which they are tried').conflicts([
          'mirror',
          'from'
        ])
      )
      .option('--host <name...>', 'the names that lead to the agent or the replicas, in place of those in the configuration')
      .option('--local <host:port>', 'the replica on the node itself, which is tried first')
      .option('--ca <file>', "the authority of this registry's certificate")
      .option('--username <name>', 'the user by which containerd authenticates')
      .option('--password-file <file>', "the user's password")
      .action(({ root, ...options }: ContainerdFlags) => writeOrPrint(options, root, load))
  }
  containerd
    .command('restore')
    .description('remove the files of install and restore the files that they replaced')
    .option(...withRoot)
    .option('--dry-run', 'print each file that would change and how, and change nothing; exit code 0')
    .action(async ({ root, dryRun }: { root: string; dryRun?: true }) => {
      const { restoreHosts } = await import('./containerd.ts')
      process.stdout.write(await restoreHosts(root, dryRun && 'plan'))
    })
}

async function writeOrPrint(
  { config: file, from, dryRun, ...options }: ContainerdFlags,
  root: string | undefined,
  load: CommandDeps['load']
): Promise<void> {
  const { agentDirectories, hostDirectories, installHosts, printed } = await import('./containerd.ts')
  const { isAgentFile } = await import('../../config/agent/recognize.ts')
  const all = { ...options, ...(from === undefined ? {} : { from: await load(from) }) }
  const directories =
    file !== undefined && isAgentFile(file)
      ? await agentDirectories((await import('../../config/agent/load.ts')).loadAgentConfig(file), all)
      : await hostDirectories(await load(file), all)
  process.stdout.write(root === undefined ? printed(directories) : await installHosts(directories, root, dryRun && 'plan'))
}
