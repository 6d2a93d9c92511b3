import type { Client } from '../long/client.ts'
import { digestOf } from '../long/client.ts'
import { finish } from '../long/push.ts'
import type { Register } from './register.ts'
import type { OpenSession, World } from './world.ts'
import { blobPath, isTagPath, manifestPath } from './world.ts'

/** What is wrong after a restart, one line a case; all empty if the promise was kept. */
export interface Faults {
  /** Acknowledged, and not in force. */
  lost: string[]
  /** There, with other bytes than its digest's. */
  corrupt: string[]
  /** Seen in one place and absent in another. */
  partial: string[]
  /** An upload session that cannot be resumed as the registry itself says. */
  session: string[]
  /** An answer that there is no reason for. */
  unexpected: string[]
}

/** No fault. */
export function noFaults(): Faults {
  return { lost: [], corrupt: [], partial: [], session: [], unexpected: [] }
}

/** Asks for content and compares it with what may be there; afterwards the registers hold what was found. */
export async function verifyContent(client: Client, entries: Iterable<[path: string, register: Register]>, faults: Faults): Promise<void> {
  for (const [path, register] of entries) {
    const reply = await client.ask('GET', path)
    if (reply.status !== 200 && reply.status !== 404) {
      faults.unexpected.push(`GET ${path} answered ${reply.status} ${reply.body.subarray(0, 300)}`)
      continue
    }
    const found = reply.status === 200 ? digestOf(reply.body) : undefined
    const acceptable = register.acceptable()
    if (!acceptable.has(found)) {
      const expected = [...acceptable].map(each => each ?? 'nothing').join(' or ')
      const line = `${path}: ${found ?? 'nothing'} instead of ${expected}`
      // A deletion that did not last is lost, too.
      const wrong = found !== undefined && !isTagPath(path) && !path.endsWith(found)
      if (wrong) faults.corrupt.push(line)
      else faults.lost.push(line)
    }
    register.settle(found)
  }
}

/**
 * Continues every upload session that was left open from where the registry says that it stands. Resolves to how many
 * were finished.
 */
export async function resumeSessions(client: Client, world: World, faults: Faults): Promise<number> {
  let resumed = 0
  for (const open of world.sessions) {
    try {
      if (!(await resume(client, open, faults))) continue
      resumed++
      world.at(open.name, blobPath(open.name, open.session.digest)).settle(open.session.digest)
    } catch (error) {
      faults.session.push(`${open.session.path}: ${(error as Error).message}`)
    }
  }
  world.sessions.clear()
  return resumed
}

async function resume(client: Client, { name, session }: OpenSession, faults: Faults): Promise<boolean> {
  const { path, sent, acknowledged, finishing, bytes, digest } = session
  const { status, headers } = await client.ask('GET', path)
  if (status === 404 && finishing) {
    // A session ends after its blob became visible.
    const { status } = await client.ask('HEAD', blobPath(name, digest))
    if (status !== 200) faults.lost.push(`${path}: the session is over, and its blob is not there`)
    return false
  }
  const last = /^0-(\d+)$/.exec(String(headers['range']))?.[1]
  if (status !== 204 || last === undefined) {
    faults.session.push(`GET ${path} answered ${status} with Range ${headers['range']}`)
    return false
  }
  // `Range` is `0-0` for an empty session and for one of a single byte.
  const offset = Number(headers['upload-offset'])
  if (Math.max(0, offset - 1) !== Number(last)) faults.session.push(`${path}: Range ends at ${last}, but the offset is ${offset}`)
  if (offset > sent) faults.session.push(`${path}: stands at ${offset}, but only ${sent} bytes were sent`)
  // While it was being published its bytes may have moved to their place already.
  if (offset < acknowledged && !finishing) faults.session.push(`${path}: stands at ${offset}, but ${acknowledged} bytes were acknowledged`)
  session.sent = Math.min(offset, bytes.length)
  await finish(client, session)
  return true
}

/** What lists tell has to be there, and what is there has to be in the lists. */
export async function verifyLists(client: Client, world: World, faults: Faults): Promise<void> {
  const { repositories } = await json<{ repositories: string[] }>(client, '/v2/_catalog')
  for (const name of world.names) {
    const tags = world.below(name, 'manifests').filter(([path, register]) => isTagPath(path) && register.certain() !== undefined)
    if (tags.length > 0 && !repositories.includes(name)) faults.lost.push(`${name} is not in the catalog`)
    if (!repositories.includes(name)) continue
    const listed = (await json<{ tags: string[] }>(client, `/v2/${name}/tags/list`)).tags
    for (const tag of listed) {
      const { status } = await client.ask('HEAD', manifestPath(name, tag))
      if (status !== 200) faults.partial.push(`${name}: the tag ${tag} is listed, and asking for it is answered with ${status}`)
    }
    for (const [path] of tags)
      if (!listed.includes(path.slice(path.lastIndexOf('/') + 1))) faults.lost.push(`${path} is not in the list of tags`)
  }
}

/** Referrers that were acknowledged are listed by their subject, and what is listed is there. */
export async function verifyReferrers(client: Client, world: World, faults: Faults): Promise<void> {
  for (const { name, subject, digest } of world.referrers) {
    const { manifests } = await json<{ manifests: { digest: string }[] }>(client, `/v2/${name}/referrers/${subject}`)
    const present = world.at(name, manifestPath(name, digest)).certain() !== undefined
    if (present && !manifests.some(each => each.digest === digest))
      faults.lost.push(`${name}: ${digest} is not among the referrers of ${subject}`)
    for (const each of manifests) {
      const { status } = await client.ask('HEAD', manifestPath(name, each.digest))
      if (status !== 200)
        faults.partial.push(`${name}: the referrer ${each.digest} is listed, and asking for it is answered with ${status}`)
    }
  }
}

async function json<T>(client: Client, path: string): Promise<T> {
  const { status, body } = await client.ask('GET', path)
  if (status !== 200) throw new Error(`GET ${path} answered ${status}`)
  return JSON.parse(body.toString())
}
