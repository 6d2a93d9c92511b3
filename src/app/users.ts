import type { Config } from '../../config/schema.ts'
import { type Access, createAccess } from '../access/access.ts'
import { type HtpasswdEntry, parseHtpasswd } from '../access/htpasswd.ts'
import { createPasswordChecker, type PasswordChecker } from '../access/password-checker.ts'
import { watchFiles } from '../ports/watch.ts'
import type { Logger } from '../telemetry/log.ts'
import type { Metrics } from '../telemetry/metrics.ts'

/** The users of an htpasswd file, which may change while the process runs. */
export async function openUsers(options: {
  file: string
  interval: number
  onReload: (users: number) => void
  onFault: (fault: unknown) => void
}): Promise<{ credentials: PasswordChecker; close(): void }> {
  const { file, interval, onReload, onFault } = options
  const watched = await watchFiles<{ users: string }, HtpasswdEntry[]>({
    files: { users: file },
    intervalMs: interval,
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

/** Access rights of a configuration; `close` ends looking at the users file. */
export async function openAccess(
  { users, anonymous }: Config['auth'],
  interval: number,
  metrics: Metrics,
  log: Logger
): Promise<Access & { close(): void }> {
  const opened =
    users &&
    (await openUsers({
      file: users.file,
      interval,
      onReload: count => log.info({ file: users.file, passwords: count }, 'users were read again'),
      onFault: fault => {
        metrics.reloadFaults.inc({ kind: 'users' })
        log.error({ err: fault, file: users.file }, 'the changed users file cannot be used; the one before it stays in force')
      }
    }))
  const onOutcome = (outcome: string) => metrics.authentications.inc({ outcome })
  const access = createAccess({ users: opened?.credentials, roles: users?.roles ?? {}, anonymous, onOutcome })
  return { ...access, close: () => opened?.close() }
}
