import { OciError } from '../oci/errors.ts'
import { type Audit, AuditUnavailable } from '../telemetry/audit.ts'
import type { AuditEvent, RequestRecord } from './exchange.ts'

/** Who sent a request, and for which repository. */
type Sender = Pick<RequestRecord, 'address' | 'name'> & { user?: string | undefined }

/** What the API needs of the audit stream. */
export type RequestAudit = Pick<Audit, 'ready' | 'recordChanges' | 'refuse' | 'challenge'>

/** Refuses a change with UNAVAILABLE (503) while the audit stream takes no lines. */
export async function requireAudit(audit: RequestAudit): Promise<void> {
  await audit.ready()?.catch(unavailable('nothing is changed while the audit log cannot be written'))
}

/** Writes the changes that a request made; UNAVAILABLE (503) if they cannot be written at present. */
export async function recordChanges(audit: RequestAudit, events: readonly AuditEvent[], record: RequestRecord, id: string): Promise<void> {
  const sender = senderOf(record, id)
  const entries = events.map(event => ({ ...sender, ...event }))
  await audit.recordChanges(entries).catch(unavailable('the change was made, and the audit log could not be written'))
}

/** Writes that a request was refused for want of a permission. A request without credentials is asked for some. */
export async function recordRefusal(
  audit: RequestAudit,
  error: unknown,
  { record, id, permission }: { record: Sender; id: string; permission: string }
): Promise<void> {
  if (!(error instanceof OciError)) return
  const entry = { ...senderOf(record, id), reason: error.code, permission, ...(record.name === undefined ? {} : { name: record.name }) }
  // With a user UNAUTHORIZED means a token that was issued for less: how clients learn to get one for more.
  if (record.user !== undefined && error.code !== 'UNAUTHORIZED') await audit.refuse(permission, entry)
  // GET /v2/ without credentials is how clients begin (distribution-spec, "Authentication").
  else if (permission !== 'base') await audit.challenge(entry)
}

function senderOf({ user, address }: Sender, request: string) {
  return { actor: user ?? 'anonymous', address, request }
}

function unavailable(reason: string): (error: unknown) => never {
  return cause => {
    if (!(cause instanceof AuditUnavailable)) throw cause
    throw new OciError('UNAVAILABLE', { detail: { reason }, headers: { 'retry-after': '10' }, cause })
  }
}
