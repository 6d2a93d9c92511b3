import type { Digest } from './digest.ts'
import { readManifest } from './manifest.ts'

/** The platform of each manifest in an index, as `<os>/<architecture>[/<variant>]`, where it names one. */
export function platformsOf(index: Uint8Array): Map<Digest, string> {
  const entries = readManifest(index)?.manifests ?? []
  const written =
    entries.length === 0 ? [] : (JSON.parse(Buffer.from(index).toString()) as { manifests: { platform?: unknown }[] }).manifests
  return new Map(
    entries.flatMap(({ digest }, at) => {
      const platform = platformText(written[at]?.platform)
      return platform === undefined ? [] : [[digest, platform] as const]
    })
  )
}

function platformText(platform: unknown): string | undefined {
  if (typeof platform !== 'object' || platform === null) return undefined
  const { os, architecture, variant } = platform as Record<string, unknown>
  const parts = [os, architecture, variant].filter(part => typeof part === 'string' && part !== '')
  // It is printed to a terminal.
  return parts.length < 2
    ? undefined
    : parts
        .join('/')
        .replaceAll(/[^\w./-]/g, '?')
        .slice(0, 64)
}

const goNames: Record<string, string> = { x64: 'amd64', ia32: '386', arm64: 'arm64', arm: 'arm', ppc64: 'ppc64le' }

/** The platform that nodes like this machine ask for. */
export function ownPlatform(architecture: string): string {
  return `linux/${goNames[architecture] ?? architecture}`
}
