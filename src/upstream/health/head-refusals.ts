import type { FailoverClient } from '../failover.ts'
import { isHeadRefused } from '../failure.ts'
import type { UpstreamResource } from '../options.ts'

const forgottenAfterMs = 3_600_000

/**
 * Which endpoints refused a HEAD and answered the GET in its place: for each, an entry for blobs and one for manifests.
 */
export class HeadRefusals {
  readonly #until = new Map<string, number>()
  readonly #now: () => number

  constructor(now: () => number) {
    this.#now = now
  }

  /** Whether a HEAD would be refused again. */
  has(host: string, resource: UpstreamResource): boolean {
    const until = this.#until.get(`${host} ${resource}`)
    return until !== undefined && this.#now() < until
  }

  add(host: string, resource: UpstreamResource): void {
    this.#until.set(`${host} ${resource}`, this.#now() + forgottenAfterMs)
  }
}

/**
 * What a HEAD tells, else what a GET does: if the HEAD tells too little (undefined), is refused, or was refused within
 * the last hour.
 */
export async function headOrGet<T>(
  client: FailoverClient,
  resource: UpstreamResource,
  { head, get }: { head: () => Promise<T | undefined>; get: () => Promise<T> }
): Promise<T> {
  if (client.headRefusals.has(client.nextHost(), resource)) return get()
  let refused: string | undefined
  try {
    const told = await head()
    if (told !== undefined) return told
  } catch (error) {
    if (!isHeadRefused('HEAD', error)) throw error
    refused = error.endpoint
  }
  const got = await get()
  // A GET that is refused too says that the right is missing, and nothing about HEAD.
  if (refused !== undefined) client.headRefusals.add(refused, resource)
  return got
}
