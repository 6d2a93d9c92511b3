import { Readable } from 'node:stream'
import type { FastifyInstance } from 'fastify'
import { lines, whileAsked } from './asked.ts'
import { type InputMember, oneOf, requireBody } from './body.ts'

/** Long work that commands ask for. Each tells what it does one object after the other, and may be broken off at any time and begun again. */
export interface Operations {
  /** Removes what nobody needs; without it this process collects nothing. */
  gc?: (asked: { dryRun: boolean; signal: AbortSignal }) => AsyncIterable<object>
  /** Reads blobs, of one repository or of all, and checks what refers to them. */
  scrub(asked: { name?: string; signal: AbortSignal }): AsyncIterable<object>
  /** What each repository takes on disk. */
  du(asked: { signal: AbortSignal }): AsyncIterable<object>
  /** Takes away what `target` names; what was pushed only if that is `included`. */
  purge(asked: { target: string; pushed: 'refused' | 'included'; signal: AbortSignal }): AsyncIterable<object>
  /** Fetches references into the cache; absent where nobody can be asked. */
  prefetch?: (asked: { references: string[]; platforms: string[]; atOnce: number; signal: AbortSignal }) => AsyncIterable<object>
}

/** What ends the answer of a task that failed. */
export interface Failed {
  type: 'failed'
  /** The kind of the error, as its class is called. */
  name: string
  message: string
}

const longestSet = 16 * 1024 * 1024
const longest = 1024
const text: InputMember = { expected: `a string of at most ${longest} characters`, accepts: isText }
const texts: InputMember = {
  expected: `an array of strings of at most ${longest} characters`,
  accepts: value => Array.isArray(value) && value.every(isText)
}
const asks: Record<string, Record<string, InputMember>> = {
  gc: { dryRun: { expected: 'true or false', accepts: value => typeof value === 'boolean' } },
  scrub: { name: { expected: `nothing, or ${text.expected}`, accepts: value => value === undefined || isText(value) } },
  du: {},
  purge: { target: text, pushed: oneOf(['refused', 'included']) },
  prefetch: {
    references: texts,
    platforms: texts,
    atOnce: {
      expected: 'a whole number from 1 to 64',
      accepts: value => Number.isInteger(value) && Number(value) >= 1 && Number(value) <= 64
    }
  }
}

function isText(value: unknown): boolean {
  return typeof value === 'string' && value.length <= longest
}

/** The control socket's side of the long work. */
export function registerUpkeep(app: FastifyInstance, { gc, scrub, du, purge, prefetch }: Operations): void {
  const task = <Asked extends object>(name: string, run: (asked: Asked & { signal: AbortSignal }) => AsyncIterable<object>) =>
    app.post<{ Body: Asked }>(
      `/upkeep/${name}`,
      { bodyLimit: longestSet, preHandler: requireBody(asks[name] ?? {}) },
      async ({ body }, reply) => {
        const events = run({ ...(body as Asked), signal: whileAsked(reply.raw) })
        return reply.type('application/x-ndjson').send(Readable.from(lines(toldToTheEnd(events))))
      }
    )
  if (gc) task('gc', gc)
  task('scrub', scrub)
  task('du', du)
  task('purge', purge)
  if (prefetch) task('prefetch', prefetch)
}

// The head of the answer is on its way long before; so an error is told as its last line.
async function* toldToTheEnd(events: AsyncIterable<object>): AsyncIterable<object> {
  try {
    yield* events
  } catch (error) {
    const { name, message } = error as Error
    yield { type: 'failed', name, message } satisfies Failed
  }
}
