import { type Digest, isDigest } from '../../oci/digest.ts'
import { isName, isTag, type Tag } from '../../oci/name.ts'

/** A tag that is to be removed, as long as it names the digest. `path` is below the root; empty for the root itself. */
export interface TagRemoval {
  path: string
  tag: Tag
  digest: Digest
}

/** What a plan file says: which tags go from where. */
export interface PrunePlan {
  /** `<host>/<path>` of the root. */
  place: string
  removals: TagRemoval[]
}

/** A line of a plan file that cannot be meant. */
export class PlanFault extends Error {
  override readonly name = 'PlanFault'
}

/** The plan as a text that a person reads and may shorten. */
export function planText({ place, removals }: PrunePlan, { keep, stays }: { keep: readonly Tag[]; stays: number }): string {
  return [
    `# What goes from ${place} where ${keep.join(', ')} ${keep.length === 1 ? 'stays' : 'stay'}: ${removals.length} tags. ${stays} stay.`,
    '# Nothing is removed yet. Delete a line, or begin it with #, and what it names stays too.',
    '# Only tags go; their bytes go with the next garbage collection of the registry.',
    `registry ${place}`,
    ...removals.map(({ path, tag, digest }) => `remove ${path}:${tag} ${digest}`),
    ''
  ].join('\n')
}

const removalLine = /^remove ([^\s:]*):(\S+) (\S+)$/

/** Reads a plan; throws a PlanFault with the number of the first line that cannot be meant. */
export function parsePlan(text: string): PrunePlan {
  let place: string | undefined
  const removals: TagRemoval[] = []
  for (const [at, line] of text.split(/\r?\n/).entries()) {
    const content = line.trim()
    if (content === '' || content.startsWith('#')) continue
    const [, named] = /^registry (\S+)$/.exec(content) ?? []
    if (named !== undefined && place === undefined) {
      place = named
      continue
    }
    const [, path = '', tag = '', digest = ''] = removalLine.exec(content) ?? []
    if (!(path === '' || isName(path)) || !isTag(tag) || !isDigest(digest))
      throw new PlanFault(
        `line ${at + 1} of the plan is neither "registry HOST/PATH" nor "remove PATH:TAG DIGEST": ${JSON.stringify(content.slice(0, 160))}`
      )
    removals.push({ path, tag, digest })
  }
  if (place === undefined) throw new PlanFault('the plan has no line "registry HOST/PATH"')
  return { place, removals }
}
