import type { GcEvent } from '../content/gc/run.ts'
import type { Report } from '../why/report.ts'
import type { VerifyResult } from '../why/verify.ts'
import type { StorageCopyEvent } from './copy-storage.ts'
import type { DuEvent } from './du.ts'
import type { ScrubEvent } from './events.ts'
import { flag, integer, oneOf, optional, text, texts } from './input.ts'
import type { CopyOperation, Operation, RegistryOperation, StorageOperation } from './operation.ts'
import type { PrefetchEvent } from './prefetch.ts'
import type { PurgeEvent } from './purge.ts'

// An operation loads its code on its first use: a registry without commands does without.

/** How stored blobs are verified: by their size, or by their digest. */
export type VerifyDepth = 'size' | 'digest'
const depth = oneOf(['size', 'digest'] satisfies VerifyDepth[])

/** Removes what nothing references and what expired. */
const gc: StorageOperation<{ dryRun: boolean }, GcEvent> = {
  needs: 'storage',
  path: '/upkeep/gc',
  answer: 'events',
  changes: true,
  input: { dryRun: flag },
  run: ({ dryRun }, { collect }, signal) => collect({ signal, ...(dryRun ? { dryRun } : {}) })
}

/** Verifies blobs, those of one repository or all of them, and checks what refers to them. */
const scrub: StorageOperation<{ name?: string }, ScrubEvent> = {
  needs: 'storage',
  path: '/upkeep/scrub',
  answer: 'events',
  changes: true,
  input: { name: optional(text) },
  async *run({ name }, { tree, reportScrub, recordScrub }, signal) {
    const { scrub, parseRepository } = await import('./scrub.ts')
    const began = tree.now()
    for await (const event of scrub(tree, { signal, ...(name === undefined ? {} : { name: parseRepository(name) }) })) {
      if (event.type === 'done' && name === undefined) await recordScrub(began, event)
      reportScrub(event)
      yield event
    }
  }
}

/** Adds up what each repository takes on disk. */
const du: StorageOperation<object, DuEvent> = {
  needs: 'storage',
  path: '/upkeep/du',
  answer: 'events',
  input: {},
  async *run(_input, { tree }, signal) {
    const { du } = await import('./du.ts')
    yield* du(tree, signal, tree.now)
  }
}

/** Removes the repository, tag or digest that `target` names; pushed content only if that is `included`. */
const purge: StorageOperation<{ target: string; pushed: 'refused' | 'included' }, PurgeEvent> = {
  needs: 'storage',
  path: '/upkeep/purge',
  answer: 'events',
  changes: true,
  input: { target: text, pushed: oneOf(['refused', 'included']) },
  async *run({ target, pushed }, { tree }, signal) {
    const [{ purge }, { parseTarget }] = await Promise.all([import('./purge.ts'), import('./purge-target.ts')])
    yield* purge(parseTarget(target), tree, { pushed, signal })
  }
}

/** Fetches references into the cache, at most `atOnce` downloads at a time; without platforms all of them. */
const prefetch: RegistryOperation<{ references: string[]; platforms: string[]; atOnce: number }, PrefetchEvent> = {
  needs: 'registry',
  path: '/upkeep/prefetch',
  answer: 'events',
  changes: true,
  input: { references: texts, platforms: texts, atOnce: integer(1, 64) },
  async *run({ references, platforms, atOnce }, { fetcher }, signal) {
    const { prefetch } = await import('./prefetch.ts')
    yield* prefetch(references, fetcher, { platforms, atOnce, signal })
  }
}

/** Explains why a pull of a reference works or does not. */
const why: RegistryOperation<{ reference: string; depth: VerifyDepth }, Report> = {
  needs: 'registry',
  path: '/why',
  answer: 'document',
  input: { reference: text, depth },
  async *run({ reference, depth }, context, signal) {
    const { explain } = await import('../why/explain.ts')
    yield await explain(reference, context.why(), { depth, signal })
  }
}

/** Looks whether everything that references lead to is stored, one result each. */
const verify: RegistryOperation<{ references: string[]; depth: VerifyDepth }, VerifyResult> = {
  needs: 'registry',
  path: '/verify',
  answer: 'events',
  input: { references: texts, depth },
  async *run({ references, depth }, context, signal) {
    const { verify } = await import('../why/verify.ts')
    yield* verify(references, context.why(), { depth, signal })
  }
}

/** The operations of a registry, by the names of their commands. */
export const operations = { gc, scrub, du, purge, prefetch, why, verify } satisfies Record<string, Operation>

/** Those operations; a test may pass others of the same shape. */
export type Operations = typeof operations

/** Copies everything that one storage has to another one. */
export const copyStorage: CopyOperation<StorageCopyEvent> = {
  needs: 'two storages',
  input: {},
  async *run(_input, { from, to }, signal) {
    const { copyStorage } = await import('./copy-storage.ts')
    yield* copyStorage(from, to, signal)
  }
}
