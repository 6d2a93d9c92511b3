import { runCommand } from './command.ts'
import { NodeImages } from './images.ts'
import { awaitServer, type Probed } from './probe.ts'

/** What of a running node beside its files is used; absent parts are left out of a plan, with a note. */
export interface NodeTools {
  images?: Pick<NodeImages, 'has' | 'import'>
  restartContainerd?: () => Promise<void>
  /** Rejects when the server has not answered in time. */
  awaitServer?: (what: string, probed: Probed) => Promise<void>
}

/** Where a running node is reached. */
export interface ToolOptions {
  /** Where containerd listens; absent: no images are looked at. */
  containerd?: string | undefined
  /** The command that restarts it, with its arguments; absent: it is not restarted. */
  restart?: readonly string[] | undefined
  /** How long to wait for the pods; absent: not at all. */
  waitMs?: number | undefined
}

const restartTimeoutMs = 90_000

/** The tools of the node that this process runs on. */
export function nodeTools({ containerd, restart, waitMs }: ToolOptions): NodeTools {
  const [command, ...args] = restart ?? []
  return {
    ...(containerd === undefined ? {} : { images: new NodeImages(containerd) }),
    ...(command === undefined
      ? {}
      : {
          restartContainerd: async () => {
            await runCommand(command, args, restartTimeoutMs)
          }
        }),
    ...(waitMs === undefined ? {} : { awaitServer: (what: string, probed: Probed) => awaitServer(what, probed, waitMs) })
  }
}
