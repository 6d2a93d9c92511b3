import type { Operations } from '../ports/operations.ts'
import type { Tree } from './check.ts'
import type { ScrubDone, ScrubEvent } from './events.ts'
import type { Fetcher } from './fetch.ts'

/** What the tasks need; the same whether a server runs or not. */
export interface OperationsDeps {
  tree: Tree
  /** Absent: nobody can be asked. */
  fetcher?: Fetcher
  /** Told of everything that a scrub finds. */
  told?: (event: ScrubEvent) => void
  /** A scrub of everything, which began at `began` (ms since the epoch), is over. */
  scrubbed(began: number, done: ScrubDone): Promise<void>
}

/** Work on what is stored, for people; it is loaded when somebody asks. Collections are somebody else's. */
export function createTasks({ tree, fetcher, scrubbed, told = () => {} }: OperationsDeps): Omit<Operations, 'gc'> {
  return {
    async *scrub({ name, signal }) {
      const { scrub, repositoryNamed } = await import('./scrub.ts')
      const began = tree.now()
      for await (const event of scrub(tree, { signal, ...(name === undefined ? {} : { name: repositoryNamed(name) }) })) {
        if (event.type === 'done' && name === undefined) await scrubbed(began, event)
        told(event)
        yield event
      }
    },
    async *du({ signal }) {
      const { du } = await import('./du.ts')
      yield* du(tree, signal, tree.now)
    },
    async *purge({ target, ...options }) {
      const [{ purge }, { parseTarget }] = await Promise.all([import('./purge.ts'), import('./purge-target.ts')])
      yield* purge(parseTarget(target), tree, options)
    },
    ...(fetcher && {
      prefetch: async function* ({ references, ...options }) {
        const { prefetch } = await import('./prefetch.ts')
        yield* prefetch(references, fetcher, options)
      }
    })
  }
}
