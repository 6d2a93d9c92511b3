import type { Config } from '../../config/schema.ts'
import { type Access, createAccess } from '../access/access.ts'
import { type HtpasswdEntry, parseHtpasswd } from '../access/htpasswd.ts'
import { createPasswordChecker, type PasswordChecker } from '../access/password-checker.ts'
import { watchFiles } from '../ports/watch.ts'
import { type AppContext, type CommitReload, watchIntervalMs } from './context.ts'
import { openTokens } from './tokens/open-tokens.ts'

/** The users of a file, which is polled; what it holds is in force from `use` on. */
interface Users {
  use(): void
  close(): void
}

async function openUsers(options: {
  file: string
  checker: PasswordChecker
  intervalMs: number
  onReload: (users: number) => void
  onFault: (fault: unknown) => void
}): Promise<Users> {
  const { file, checker, intervalMs, onReload, onFault } = options
  let isUsed = false
  const watched = await watchFiles<{ users: string }, HtpasswdEntry[]>({
    files: { users: file },
    intervalMs,
    load: ({ users }) => parseHtpasswd(users.toString('utf8')),
    onChange: entries => {
      if (!isUsed) return
      checker.replace(entries)
      onReload(entries.length)
    },
    onFault
  })
  return {
    use() {
      isUsed = true
      checker.replace(watched.value)
    },
    close: () => watched.stop()
  }
}

/** The access rights in force. */
export interface OpenedAccess extends Disposable {
  current(): Access
  /** Opens other access rights if the change concerns them; rejects if their users file cannot be used. */
  prepare(next: Config, changed: readonly string[]): Promise<CommitReload>
}

/** Opens the access rights of the configuration. */
export async function openAccess(context: AppContext): Promise<OpenedAccess> {
  // One for the life of the process: a password that was right stays so over any change of the configuration.
  const checker = createPasswordChecker({ entries: [], now: Date.now })
  const first = await openRights(context.config().auth, checker, context)
  let opened = { access: first.use(), close: first.close }
  return {
    current: () => opened.access,
    prepare: async ({ auth }, changed) => {
      if (!changed.some(setting => /^auth\b/.test(setting))) return () => {}
      const next = await openRights(auth, checker, context)
      return () => {
        opened.close()
        opened = { access: next.use(), close: next.close }
      }
    },
    [Symbol.dispose]: () => opened.close()
  }
}

async function openRights(auth: Config['auth'], checker: PasswordChecker, context: AppContext): Promise<{ use(): Access; close(): void }> {
  const { users, anonymous } = auth
  const { metrics, log, audit } = context
  using stack = new DisposableStack()
  const opened =
    users &&
    (await openUsers({
      file: users.file,
      checker,
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
  if (opened) stack.defer(() => opened.close())
  const tokens = await openTokens(auth, context)
  if (tokens) stack.defer(() => tokens.close())
  const onOutcome = (outcome: string) => metrics.authentications.inc({ outcome })
  const parts = stack.move()
  return {
    use() {
      opened?.use()
      return createAccess({ users: opened && checker, roles: users?.roles ?? {}, anonymous, onOutcome, tokens: tokens?.settings })
    },
    close: () => parts.dispose()
  }
}
