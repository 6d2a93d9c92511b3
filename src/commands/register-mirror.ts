import type { Command } from 'commander'
import type { DiffFlags } from './mirror/diff.ts'
import type { RegistryFlags } from './mirror/flags.ts'
import type { ConnectedRegistry, MirrorContext } from './mirror/open.ts'
import type { PruneFlags } from './mirror/prune.ts'
import type { PullFlags } from './mirror/pull.ts'
import type { PushFlags } from './mirror/push.ts'
import type { ServeBundle, ServeBundleFlags } from './mirror/serve.ts'
import { interruptSignal, outputOf } from './register.ts'

/** What the composition root gives the commands about bundles; each is loaded on its first use. */
export interface MirrorDeps {
  connect(host: string, flags: RegistryFlags): Promise<ConnectedRegistry>
  serve: ServeBundle
}

const failed = 1
const bundlePaths = 'directories with archives of d8 mirror, or archives (*.tar, *.tar.NNNN.chunk)'
const withJson = ['--json', 'one JSON object a line, which is also what anything but a terminal gets'] as const
const withFile = ['--file <archive...>', 'of the directories only these archives, such as platform.tar'] as const
const withPatience = ['--patience <seconds>', 'how long the registry may be away before this gives up', '300'] as const
const withSuffix = ['--modules-path-suffix <path>', 'where the modules lie at the registry', '/modules'] as const

/** Adds the commands about bundles. */
export function addMirror(program: Command, deps: MirrorDeps): void {
  const mirror = program.command('mirror').description('images in archives, as d8 mirror makes them: for a cluster without a way out')
  addPush(mirror, deps)
  addPull(mirror, deps)
  addReading(mirror, deps)
  addPrune(mirror, deps)
}

function addPush(mirror: Command, deps: MirrorDeps): void {
  withRegistry(
    mirror
      .command('push')
      .description(
        'push a bundle straight from its archives, verified; what is there is passed over, so that it can be interrupted and run again. Exit code 0 if everything of the bundle is there.'
      )
      .argument('<bundle...>', bundlePaths)
      .requiredOption('--to <host/path>', 'the repository below which the bundle goes, such as registry.example.com/system/deckhouse')
  )
    .option(...withFile)
    .option(...withSuffix)
    .option('--keep-going', 'push what is sound of a damaged bundle, and go on after an image that failed; the exit code is 1 all the same')
    .option(...withPatience)
    .option(...withJson)
    .action(async (paths: string[], flags: PushFlags & { json?: true }) => {
      const { push } = await import('./mirror/push.ts')
      await ended(push(paths, flags, await contextOf(flags, deps)))
    })
}

function addPull(mirror: Command, deps: MirrorDeps): void {
  withRegistry(
    mirror
      .command('pull')
      .description(
        'write images into the archives of a bundle, which d8 can push too; what an earlier run has written is verified and kept, so that it can be interrupted and run again. Exit code 0 if everything that was named is there.'
      )
      .argument(
        '[references...]',
        'below --from (install:v1.70.0, :v1.70.0, @sha256:…), or files of them, one a line; - is the standard input'
      )
      .requiredOption(
        '--from <host/path>',
        'the repository that becomes the root of the bundle, such as registry.deckhouse.io/deckhouse/ee'
      )
      .requiredOption('-o, --output <directory>', 'where the archives go')
  )
    .option('--release <version...>', 'all images of a release of Deckhouse, such as v1.70.0, from the list in its installer')
    .option('--chunk-size <size>', 'write archives in files of this size, such as 4GB')
    .option('--since <bundle>', 'leave out the blobs of an earlier bundle')
    .option('--platform <os/architecture...>', 'of indexes that tags name only these; without it all')
    .option('--no-referrers', 'leave out signatures, SBOMs and attestations')
    .option(...withPatience)
    .option(...withJson)
    .action(async (words: string[], flags: PullFlags & { json?: true }) => {
      const { pull } = await import('./mirror/pull.ts')
      await ended(pull(words, flags, await contextOf(flags, deps)))
    })
}

function addReading(mirror: Command, deps: MirrorDeps): void {
  mirror
    .command('verify')
    .description('compute every digest of a bundle; exit code 0 if it is sound, and complete in itself. Of several paths together.')
    .argument('<bundle...>', bundlePaths)
    .option(...withFile)
    .option(...withJson)
    .action(async (paths: string[], flags: { file?: string[]; json?: true }) => {
      const { verify } = await import('./mirror/verify.ts')
      await ended(verify(paths, flags, await contextOf(flags, deps)))
    })
  withRegistry(
    mirror
      .command('diff')
      .description(
        'what a push would add to a registry or to another bundle, and what is there besides; exit code 0 if it would add nothing'
      )
      .argument('<bundle>', 'a directory or an archive')
      .argument('<other>', 'HOST[:PORT]/PATH, or another bundle')
  )
    .option(...withSuffix)
    .option(...withJson)
    .action(async (path: string, other: string, flags: DiffFlags & { json?: true }) => {
      const { diff } = await import('./mirror/diff.ts')
      await ended(diff(path, other, flags, await contextOf(flags, deps)))
    })
  mirror
    .command('serve')
    .description('a read-only registry straight from the archives, over plain HTTP and for all who can connect; until SIGTERM or SIGINT')
    .argument('<bundle...>', bundlePaths)
    .option(...withFile)
    .option('--listen <host:port>', 'where it listens', '127.0.0.1:5511')
    .option('--path <path>', 'the repository below which the bundle lies', 'system/deckhouse')
    .option('--keep-going', 'serve what there is of a bundle that is damaged or not complete')
    .action(async (paths: string[], flags: ServeBundleFlags) => {
      const { serve } = await import('./mirror/serve.ts')
      await ended(serve(paths, flags, { ...(await contextOf({ json: true }, deps)), serve: deps.serve }))
    })
}

function addPrune(mirror: Command, deps: MirrorDeps): void {
  withRegistry(
    mirror
      .command('prune')
      .description(
        'remove former releases from a registry, in two steps: a plan that a person reads, then its execution. Channels, modules and packages stay. Exit code 0 if all of it was done.'
      )
      .argument('<host/path>', 'where the releases are, such as registry.example.com/system/deckhouse')
  )
    .option('--keep <release...>', 'the releases that stay, such as v1.70.0: all that run, and those to come')
    .option('--plan <file>', 'write what would go into a new file, and remove nothing')
    .option('--execute <file>', 'remove what the file names')
    .option(...withJson)
    .action(async (place: string, flags: PruneFlags & { json?: true }) => {
      const { prune } = await import('./mirror/prune.ts')
      await ended(prune(place, flags, await contextOf(flags, deps)))
    })
}

function withRegistry(command: Command): Command {
  return command
    .option('--login <name>', 'the user at the registry')
    .option('--password-file <file>', "the user's password, the first line of a file")
    .option('--tls-ca <file>', "the authority of the registry's certificate, in PEM")
    .option('--insecure', 'plain HTTP')
    .option('--other-host <host...>', 'hosts of its token service or of its storage, where these are not public')
    .option('--at-once <n>', 'images and requests at once', '8')
}

async function contextOf({ json }: { json?: true }, { connect }: MirrorDeps): Promise<MirrorContext> {
  return { output: await outputOf(json), signal: interruptSignal(), connect }
}

async function ended(result: Promise<boolean>): Promise<void> {
  if (!(await result)) process.exitCode = failed
}
