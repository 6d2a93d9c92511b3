import type { Command } from 'commander'
import type { ControllerFlags } from './controller.ts'

/** Starts a controller; what it returns is stopped by a signal. */
export type StartController = (flags: ControllerFlags) => Promise<void>

/** Adds the command of the controller. */
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
}
