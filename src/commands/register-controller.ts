import type { Command } from 'commander'
import type { ClusterFlags, SwitchFlags } from './cluster.ts'
import type { ControllerFlags } from './controller.ts'

/** Starts a controller; what it returns is stopped by a signal. */
export type StartController = (flags: ControllerFlags) => Promise<void>

const failed = 1

/** Adds the command of the controller, and those that look at a cluster and switch it from anywhere. */
export function addController(program: Command, start: StartController): void {
  program
    .command('controller')
    .description('lead the cluster to the mode that ModuleConfig deckhouse wants, until SIGTERM or SIGINT')
    .requiredOption('--image <reference>', 'the image of this program, for the in-cluster proxy')
    .option('--kubeconfig <file>', 'how the API server is reached; without it as a Pod, by its service account')
    .option('--context <name>', 'a context of that file; without it the current one')
    .option('--admin <host:port>', 'where probes and Prometheus find it', '0.0.0.0:5004')
    .option('--cloud', 'the nodes are not static: Proxy and Local are refused')
    .option('--log-level <level>', 'trace, debug, info, warn or error', 'info')
    .action(start)
  const reached = (command: Command) =>
    command
      .option('--kubeconfig <file>', 'how the API server is reached; without it what KUBECONFIG names, or as a Pod')
      .option('--context <name>', 'a context of that file; without it the current one')
  const cluster = program.command('cluster').description('the mode of the cluster, from anywhere with a kubeconfig')
  reached(
    cluster.command('status').description('what a switch has done, what it waits for, and what to do; exit code 1 until it has ended')
  )
    .option('--json', 'one JSON object')
    .action(async (flags: ClusterFlags) => end((await import('./cluster.ts')).showCluster(flags)))
  reached(cluster.command('switch').description('edit ModuleConfig deckhouse').argument('<mode>', 'Direct, Proxy, Local or Unmanaged'))
    .option('--images-repo <repository>', 'the upstream of Direct, Proxy and configurable Unmanaged')
    .option('--scheme <scheme>', 'HTTP or HTTPS')
    .option('--license <key>', 'short for the user license-token with this password')
    .option('--username <name>', 'the user at the upstream')
    .option('--password <password>', 'the password of that user')
    .option('--wait', 'follow the switch to its end')
    .action(async (mode: string, flags: SwitchFlags) => end((await import('./cluster.ts')).switchCluster(mode, flags)))
}

async function end(result: Promise<boolean>): Promise<void> {
  if (!(await result)) process.exitCode = failed
}
