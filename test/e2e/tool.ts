import { accessSync, constants } from 'node:fs'
import { delimiter, join } from 'node:path'
import type { Test } from 'tap'

const origin: Readonly<Record<string, string>> = {
  skopeo: 'Debian package skopeo',
  podman: 'Debian package podman',
  buildah: 'Debian package buildah',
  npm: 'part of Node, the Debian package npm, or any other way that brings it',
  docker: "docker's command line, of any package",
  containerd: 'Debian package containerd',
  ctr: 'Debian package containerd',
  'docker-registry': 'Debian package docker-registry'
}

/** Where on the PATH a command is; undefined where it is not. */
export function pathOf(command: string): string | undefined {
  const folders = (process.env['PATH'] ?? '').split(delimiter)
  return folders.map(folder => join(folder, command)).find(isExecutable)
}

/** Whether the command is on the PATH. */
export function isPresent(command: string): boolean {
  return pathOf(command) !== undefined
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
