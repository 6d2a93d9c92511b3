import type { FastifyRequest } from 'fastify'
import type { LocalUser } from './operation-record.ts'

const fields = { uid: 'x-registry-uid', sudoUid: 'x-registry-sudo-uid' } as const

/** The header fields by which a command tells its user on the control socket. */
export function controlUserFields(user: LocalUser): Record<string, string> {
  const entries = Object.entries(fields).map(([key, field]) => [field, user[key as keyof LocalUser]] as const)
  return Object.fromEntries(entries.flatMap(([field, uid]) => (uid === undefined ? [] : [[field, String(uid)]])))
}

/**
 * The user of a request on the control socket, as the command tells it, for the audit stream. Only root and the owner
 * of the registry can open the socket, and Node does not tell which of them did.
 */
export function controlSender({ headers, id }: Pick<FastifyRequest, 'headers' | 'id'>): LocalUser & { request: string } {
  const told = Object.entries(fields).map(([key, field]) => [key, headers[field]] as const)
  const uids = told.flatMap(([key, text]) => (typeof text === 'string' && /^\d{1,10}$/.test(text) ? [[key, Number(text)]] : []))
  return { ...Object.fromEntries(uids), request: id }
}
