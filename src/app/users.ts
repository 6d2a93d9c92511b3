import type { Config } from '../../config/schema.ts'
import { type Access, createAccess } from '../access/access.ts'
import { type HtpasswdEntry, parseHtpasswd } from '../access/htpasswd.ts'
import { createPasswordChecker, type PasswordChecker } from '../access/password-checker.ts'
import { watchFiles } from '../ports/watch.ts'
import { type AppContext, type CommitReload, watchIntervalMs } from './context.ts'

/** Reads the users of an htpasswd file, and again whenever it changes. */
async function openUsers(options: {
  file: string
  intervalMs: number
  onReload: (users: number) => void
  onFault: (fault: unknown) => void
}): Promise<{ credentials: PasswordChecker; close(): void }> {
  const { file, intervalMs, onReload, onFault } = options
  const watched = await watchFiles<{ users: string }, HtpasswdEntry[]>({
    files: { users: file },
    intervalMs,
    load: ({ users }) => parseHtpasswd(users.toString('utf8')),
    onChange: entries => {
      credentials.replace(entries)
      onReload(entries.length)
    },
    onFault
  })
  const credentials = createPasswordChecker({ entries: watched.value, now: Date.now })
  return { credentials, close: () => watched.stop() }
}

/** The access rights in force. */
export interface OpenedAccess extends Disposable {
  current(): Access
  /** Opens other access rights if the change concerns them; rejects if their users file cannot be used. */
  prepare(next: Config, changed: readonly string[]): Promise<CommitReload>
}

/** Opens the access rights of the configuration. */
export async function openAccess(context: AppContext): Promise<OpenedAccess> {
  let opened = await openRights(context.config().auth, context)
  return {
    current: () => opened.access,
    prepare: async ({ auth }, changed) => {
      if (!changed.some(setting => /^auth\b/.test(setting))) return () => {}
      const next = await openRights(auth, context)
      return () => {
        opened.close()
        opened = next
      }
    },
    [Symbol.dispose]: () => opened.close()
  }
}

async function openRights(
  { users, anonymous }: Config['auth'],
  { metrics, log, audit }: AppContext
): Promise<{ access: Access; close: () => void }> {
  const opened =
    users &&
    (await openUsers({
      file: users.file,
      intervalMs: watchIntervalMs,
      onReload: count => {
        log.info({ file: users.file, passwords: count }, 'the users file was reloaded')
        void audit.record({ action: 'reload', actor: 'local', result: 'applied', file: users.file, passwords: count })
      },
      onFault: fault => {
        metrics.reloadFaults.inc({ kind: 'users' })
        void audit.record({ action: 'reload', actor: 'local', result: 'faulty', file: users.file })
        log.error({ err: fault, file: users.file }, 'the changed users file cannot be used; the previous users stay in force')
      }
    }))
  const onOutcome = (outcome: string) => metrics.authentications.inc({ outcome })
  const access = createAccess({ users: opened?.credentials, roles: users?.roles ?? {}, anonymous, onOutcome })
  return { access, close: () => opened?.close() }
}
