import type { FastifyRequest } from 'fastify'
import type { InputMembers } from '../operations/input.ts'

/** A hook that refuses (400) a body of which a member is not what it has to be. */
export function requireBody(members: InputMembers<object>): (request: FastifyRequest) => Promise<void> {
  return async ({ body }) => {
    const values = new Map(Object.entries(body ?? {}))
    for (const [key, { expected, accepts }] of Object.entries(members)) {
      if (!accepts(values.get(key))) throw Object.assign(new Error(`${key}: expected ${expected}`), { statusCode: 400 })
    }
  }
}
