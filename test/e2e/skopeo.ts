import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import type { RunOptions } from './command.ts'
import { must } from './command.ts'
import { Layout } from './layout.ts'
import type { Registry } from './registry.ts'

const common = ['--insecure-policy']

/** Runs skopeo; credentials of the machine stay out of it. */
export async function skopeo(args: readonly string[], options: RunOptions = {}): Promise<string> {
  return await must('skopeo', [...common, ...args], { ...options, env: { REGISTRY_AUTH_FILE: '/nonexistent/auth.json', ...options.env } })
}

/** One thing to copy: a reference of the layout, and where it stands in the registry (`name:tag` or `name@digest`). */
export interface Transfer {
  layout: Layout
  tag: string
  to: string
}

/** Pushes a reference of a layout, with everything under it. */
export async function push(registry: Registry, { layout, tag, to }: Transfer): Promise<void> {
  const target = `docker://${registry.address}/${to}`
  await skopeo(['copy', '--all', '--preserve-digests', '--dest-tls-verify=false', `oci:${layout.folder}:${tag}`, target])
}

/** Pulls a reference, with everything under it, into a new layout in the folder. */
export async function pull(registry: Registry, reference: string, folder: string): Promise<Layout> {
  const into = join(folder, reference.replaceAll(/[^a-z0-9]/g, '-'))
  await mkdir(into, { recursive: true })
  const source = `docker://${registry.address}/${reference}`
  await skopeo(['copy', '--all', '--preserve-digests', '--src-tls-verify=false', source, `oci:${into}:pulled`])
  return Layout.open(into)
}
