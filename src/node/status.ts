import { X509Certificate } from 'node:crypto'
import { join } from 'node:path'
import { type Applied, digestOfState, readRecord } from './apply/record.ts'
import { findFiles, foreignHosts } from './apply/survey.ts'
import { findContainerd } from './host/containerd.ts'
import { places } from './layout.ts'
import { isDue } from './pki/certificates.ts'

/** What apply owns on a node, and whether it is still as written. */
export interface NodeStatus {
  /** Whether everything that is owned is as it was written. */
  asApplied: boolean
  /** What the node was made to be; absent: nothing was applied, or no apply came to its end. */
  applied?: Applied
  /** Owned files by their absolute path on the node. */
  files: { path: string; state: 'as applied' | 'changed' | 'absent'; kept: boolean }[]
  certificates: { path: string; subject: string; expires: string; due: boolean }[]
  /** Registry hosts of others that containerd reads. They are left alone. */
  foreignHosts: string[]
  containerd: { version?: string; configPath?: string; restart: boolean }
  problems: string[]
}

/** Looks at the node below `root`; `now` is milliseconds. Changes nothing. */
export async function statusOfNode(root: string, now: number): Promise<NodeStatus> {
  const record = await readRecord(root)
  const [found, containerd] = await Promise.all([findFiles(root, [], record), findContainerd(root)])
  const files = [...record.files].map(([path, { digest }]) => {
    const state = found.files.get(path)
    const is = state === undefined ? 'absent' : digestOfState(state) === digest ? 'as applied' : 'changed'
    return { path: `/${path}`, state: is, kept: found.kept.has(path) } as const
  })
  const certificates = [...found.files].flatMap(([path, { text }]) => (path.endsWith('.crt') ? certificateAt(path, text, now) : []))
  const { version, configPath } = containerd
  const directory = (configPath ?? `/${places.hosts}`).slice(1)
  return {
    asApplied: files.every(({ state }) => state === 'as applied') && found.leftovers.length === 0 && !record.restart,
    ...(record.applied ? { applied: record.applied } : {}),
    files: files.toSorted((a, b) => (a.path < b.path ? -1 : 1)),
    certificates,
    foreignHosts: (await foreignHosts(root, directory, record)).map(name => join('/', directory, name)),
    containerd: { ...(version ? { version } : {}), ...(configPath ? { configPath } : {}), restart: record.restart },
    problems: [...found.blockers, ...containerd.blockers]
  }
}

function certificateAt(path: string, text: string, now: number): NodeStatus['certificates'] {
  try {
    const certificate = new X509Certificate(text)
    const { subject, validToDate } = certificate
    return [{ path: `/${path}`, subject: subject.replaceAll('\n', ', '), expires: validToDate.toISOString(), due: isDue(certificate, now) }]
  } catch {
    return []
  }
}
