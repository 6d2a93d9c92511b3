/** A descriptor's `platform` as `os/architecture[/variant]`; undefined if it is absent or incomplete. */
export function platformText(platform: unknown): string | undefined {
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

/**
 * Whether a child of an index is for one of `platforms`. A platform without a variant matches all its variants, an
 * empty list all children.
 */
export function matchesPlatform(platform: string | undefined, platforms: readonly string[]): boolean {
  return platforms.length === 0 || platforms.some(each => platform === each || platform?.startsWith(`${each}/`))
}

const goNames: Record<string, string> = { x64: 'amd64', ia32: '386', arm64: 'arm64', arm: 'arm', ppc64: 'ppc64le' }

/** The platform that nodes like this machine ask for. */
export function ownPlatform(architecture: string): string {
  return `linux/${goNames[architecture] ?? architecture}`
}

const platformPattern = /^[a-z0-9]+\/[a-z0-9_]+(\/[a-z0-9]+)?$/

/** Whether a text is `os/architecture[/variant]`. */
export function isPlatform(text: string): boolean {
  return platformPattern.test(text)
}
