import { type Credentials, createCredentials } from './access/credentials.ts'
import { type Entry, parseHtpasswd } from './access/htpasswd.ts'
import { watchFiles } from './ports/watch.ts'

/** The users of an htpasswd file, which may change while the process runs. */
export async function openUsers(options: {
  file: string
  interval: number
  onReload: (users: number) => void
  onFault: (fault: unknown) => void
}): Promise<{ credentials: Credentials; close(): void }> {
  const { file, interval, onReload, onFault } = options
  const watched = await watchFiles<{ users: string }, Entry[]>({
    files: { users: file },
    interval,
    load: ({ users }) => parseHtpasswd(users.toString('utf8')),
    onChange: entries => {
      credentials.replace(entries)
      onReload(entries.length)
    },
    onFault
  })
  const credentials = createCredentials({ entries: watched.value, now: Date.now })
  return { credentials, close: () => watched.stop() }
}
