import { readFileSync } from 'node:fs'
import { registerHooks } from 'node:module'
import { fileURLToPath } from 'node:url'

/** A rule of replication, switched off: a text of a source file that stands there once, and what replaces it. */
export interface Mutation {
  rule: string
  file: string
  find: string
  replace: string
}

/** The rules without which some seed must fail. */
export const mutations: Record<string, Mutation> = {
  order: {
    rule: 'a tag is shown only when everything below it is here',
    file: 'complete.ts',
    find: 'const complete = await completeNeeds(name, manifest, wanted, options, depth)',
    replace: 'const complete = true; void completeNeeds'
  },
  collection: {
    rule: 'a tombstone is collected only when every configured peer has it',
    file: 'collector.ts',
    find: 'if (!peers().every(peer => peer.has(place))) continue',
    replace: ''
  },
  absence: {
    rule: 'a replica that missed a collection learns before its old entries count',
    file: 'learner.ts',
    find: 'return collected.at > covered && !(position.incarnation === incarnation && position.seq >= collected.seq)',
    replace: 'return collected.at < 0 && covered > 0 && position.incarnation === incarnation'
  },
  incarnation: {
    rule: 'a replica that has lost its disk, or the end of its table, is another incarnation',
    file: 'replica.ts',
    find: 'this.#incarnation = deps.unique()\n    this.#clusterClock',
    replace: 'this.#incarnation = options.name\n    this.#clusterClock'
  },
  reads: {
    rule: 'what a peer that cannot be asked may have is not denied',
    file: 'lookup.ts',
    find: 'if (silent.length > 0 || latest?.value !== undefined) return',
    replace: 'if (silent.length > 99) return'
  }
}

/** Loads the source files from now on with the mutation. */
export function mutate({ file, find, replace }: Mutation): void {
  registerHooks({
    load(url, context, nextLoad) {
      const loaded = nextLoad(url, context)
      if (!url.endsWith(`/src/sync/${file}`)) return loaded
      const source = readFileSync(fileURLToPath(url), 'utf8')
      if (source.split(find).length !== 2) throw new Error(`${file} has not once: ${find}`)
      const mutated = loaded.source?.toString() ?? ''
      const stripped = mutated.includes(find) ? mutated : source
      return { ...loaded, source: stripped.replace(find, () => replace) }
    }
  })
}
