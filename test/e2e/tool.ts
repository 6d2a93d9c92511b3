import { accessSync, constants } from 'node:fs'
import { delimiter, join } from 'node:path'
import type { Test } from 'tap'

const origin: Readonly<Record<string, string>> = {
  skopeo: 'Debian package skopeo',
  podman: 'Debian package podman',
  buildah: 'Debian package buildah',
  docker: "docker's command line, of any package",
  containerd: 'Debian package containerd',
  ctr: 'Debian package containerd',
  'docker-registry': 'Debian package docker-registry'
}

/** Whether the command is on the PATH. */
export function isPresent(command: string): boolean {
  return (process.env['PATH'] ?? '').split(delimiter).some(folder => isExecutable(join(folder, command)))
}

/** False, having marked the test as skipped with the reason, where one of the commands is absent. */
export function hasTools(t: Test, ...commands: readonly string[]): boolean {
  const absent = commands.find(command => !isPresent(command))
  if (absent === undefined) return true
  t.pass(absent, { skip: `${absent} is not on the PATH (${origin[absent] ?? 'test/tools/build makes it where Go is present'})` })
  return false
}

/** False, having marked the test as skipped, for a user who is not root: containerd unpacks with mounts, podman gives files to other users. */
export function isRoot(t: Test): boolean {
  if (process.getuid?.() === 0) return true
  t.pass('root', { skip: 'this client unpacks images only as root' })
  return false
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK)
    return true
  } catch {
    return false
  }
}
