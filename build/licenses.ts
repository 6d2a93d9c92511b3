import type { Component } from './sbom.ts'

/**
 * The licences (SPDX identifiers) under which a package may become a part of the program. All of them let it be given
 * away in a larger work of any licence, with its notices. A new one is added here after it was read.
 */
export const allowedLicenses: ReadonlySet<string> = new Set([
  '0BSD',
  'Apache-2.0',
  'BSD-2-Clause',
  'BSD-3-Clause',
  'BlueOak-1.0.0',
  'ISC',
  'MIT'
])

/** Packages whose licence is not allowed or not told, as `<name>@<version>: <licence>`. */
export function refusedPackages(components: readonly Component[]): string[] {
  return components.flatMap(({ name, version, licenses = [] }) => {
    const texts = licenses.map(licenseText)
    // Several licences of a package apply together.
    const allowed = texts.length > 0 && texts.every(isAllowed)
    return allowed ? [] : [`${name}@${version}: ${texts.join(' and ') || 'no licence'}`]
  })
}

/** The licence of a package, as an SPDX expression where it is one. */
export function licenseText(license: NonNullable<Component['licenses']>[number]): string {
  return 'expression' in license ? license.expression : (license.license.id ?? license.license.name ?? 'unknown')
}

/** Whether an SPDX expression (annex D of the SPDX specification) leaves a choice that is allowed; no exceptions (`WITH`). */
export function isAllowed(expression: string): boolean {
  const tokens = expression.match(/[()]|[^\s()]+/g) ?? []
  let at = 0
  const either = (): boolean => {
    let allowed = both()
    while (tokens[at] === 'OR') {
      at++
      // Read to its end in any case.
      const next = both()
      allowed ||= next
    }
    return allowed
  }
  const both = (): boolean => {
    let allowed = one()
    while (tokens[at] === 'AND') {
      at++
      const next = one()
      allowed &&= next
    }
    return allowed
  }
  const one = (): boolean => {
    const token = tokens[at++]
    if (token !== '(') return token !== undefined && allowedLicenses.has(token)
    const allowed = either()
    return tokens[at++] === ')' && allowed
  }
  const allowed = either()
  return allowed && at === tokens.length
}
