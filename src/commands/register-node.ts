import type { Command } from 'commander'
import type { NodeFlags } from './node.ts'

const failed = 1

const withWanted = ['--config <file>', 'the wanted state of the node (docs/node.md)'] as const
const withReplace = ['--replace', 'also replace files of others that stand in the way; they are kept for restore'] as const

/** Adds the commands that set up a node. They talk to no API server. */
export function addNode(program: Command): void {
  const node = program
    .command('node')
    .description('what a node needs to run the registry and to pull from it: files, certificates, static pods')
  const command = (name: string, description: string) =>
    node
      .command(name)
      .description(description)
      .option('--root <directory>', 'the root of the file system of the node', '/')
      .option('--json', 'JSON, one object a line')
  const live = (each: Command) =>
    each
      .option('--containerd <socket>', 'where containerd listens; by default /run/containerd/containerd.sock, below another --root nowhere')
      .option('--restart <command>', 'what restarts containerd; by default systemctl restart containerd, below another --root nothing')
      .option('--wait <duration>', 'how long to wait for the pods; by default 120s, below another --root not at all')

  live(command('plan', 'print what apply would do, and do nothing; exit code 1 if it could not'))
    .option(...withWanted)
    .option(...withReplace)
    .action(async (flags: NodeFlags) => end((await import('./node.ts')).planWanted(flags)))
  live(command('apply', 'make the node as wanted, in an order in which it can pull after each step'))
    .option(...withWanted)
    .option(...withReplace)
    .option('--dry-run', 'the same as plan')
    .action(async (flags: NodeFlags) => end((await import('./node.ts')).applyWanted(flags)))
  live(command('restore', 'give the node back as it was before the first apply; the content of the replica stays'))
    .option('--dry-run', 'print what would be done, and do nothing')
    .action(async (flags: NodeFlags) => end((await import('./node.ts')).restoreNode(flags)))
  command('status', 'what apply wrote and whether it is still so; exit code 1 if it is not').action(async (flags: NodeFlags) =>
    end((await import('./node.ts')).showStatus(flags))
  )
}

async function end(result: Promise<boolean>): Promise<void> {
  if (!(await result)) process.exitCode = failed
}
