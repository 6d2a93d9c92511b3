import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { project } from './write.ts'

/** The commit that is built, unless files were changed since, and its time. */
export async function sourceState(): Promise<{ revision?: string | undefined; modified: Date }> {
  const changed = await git('status', '--porcelain')
  const revision = changed === '' ? await git('rev-parse', 'HEAD') : undefined
  // The convention of reproducible builds; else the time of the commit.
  const seconds = Number(process.env['SOURCE_DATE_EPOCH'] ?? (await git('log', '-1', '--format=%ct')) ?? 0)
  return { revision, modified: new Date(seconds * 1000) }
}

async function git(...args: string[]): Promise<string | undefined> {
  try {
    return (await promisify(execFile)('git', args, { cwd: project })).stdout.trim()
  } catch {
    // The sources are from an archive.
    return undefined
  }
}
