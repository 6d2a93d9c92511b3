import type { Wanted } from '../../../config/node/wanted.ts'
import { type NodeFile, podFile } from '../layout.ts'

/** The settings of an upstream as ModuleConfig `deckhouse` has them. */
export type UpstreamSettings = NonNullable<Wanted['direct' | 'proxy']>

const secrets = ['license', 'password'] as const

/**
 * An upstream as a part of a configuration that is written to `directory`: its secrets are in files of their own, so
 * that a configuration can be shown.
 */
export function upstreamFiles(upstream: UpstreamSettings, directory: string): { settings: Record<string, unknown>; files: NodeFile[] } {
  const settings: Record<string, unknown> = { ...upstream }
  const files: NodeFile[] = []
  for (const secret of secrets) {
    const value = upstream[secret]
    delete settings[secret]
    if (!value) continue
    const path = `${directory}/upstream-${secret}`
    settings[`${secret}File`] = `/${path}`
    files.push(podFile(path, 'configuration', `${value}\n`))
  }
  // An empty value is an absent one in ModuleConfig.
  if (settings['username'] === '') delete settings['username']
  if (settings['ca'] === '') delete settings['ca']
  return { settings, files }
}
