import { isMapping } from '../../../config/read/walk.ts'
import { moduleRules } from '../../../config/rules/module.ts'
import type { CheckMode } from '../../../config/sections/registry.ts'
import { parseCertificates } from '../../../config/values/certificates.ts'
import { parseImagesRepo } from '../../../config/values/hosts.ts'
import type { ClusterMode, ClusterParams, UpstreamParams, WantedCluster } from './params.ts'

const modes: readonly ClusterMode[] = ['Direct', 'Proxy', 'Local', 'Unmanaged']
const sections = { Direct: 'direct', Proxy: 'proxy', Unmanaged: 'unmanaged', Local: undefined } as const
const defaultRepo = 'registry.deckhouse.io/deckhouse/ce'
const licenseUser = 'license-token'
// Of Deckhouse's schema of `ttl`.
const ttlPattern = '^(?:(\\d+)h)?(?:(\\d+)m)?(?:(\\d+)s)?$'
// The Secrets that a CA is copied into end at 1 MiB, and each node keeps them.
const maxCaBytes = 128 * 1024
const maxSecretLength = 4096
const readVersion = 1

/**
 * Reads ModuleConfig `deckhouse` (deckhouse.io/v1alpha1). Faults are in the words of Deckhouse's own validation.
 * Without the object, the module's section or a mode: non-configurable Unmanaged.
 */
export function readModuleConfig(object: unknown): WantedCluster {
  const metadata = isMapping(object) && isMapping(object['metadata']) ? object['metadata'] : {}
  const generation = typeof metadata['generation'] === 'number' ? metadata['generation'] : 0
  const spec = isMapping(object) && isMapping(object['spec']) ? object['spec'] : {}
  const { version, settings } = spec
  if (version !== undefined && version !== readVersion) {
    return { generation, faults: [`ModuleConfig deckhouse: expected spec.version ${readVersion}, found ${show(version)}`] }
  }
  const registry = isMapping(settings) ? (settings['registry'] ?? {}) : {}
  if (!isMapping(registry)) return { generation, faults: ['registry: expected a mapping of settings'] }
  return { generation, ...readRegistry({ mode: 'Unmanaged', ...registry }) }
}

/** Reads the section `registry` of the settings; `mode` is given. */
export function readRegistry(registry: Record<string, unknown>): { params: ClusterParams } | { faults: string[] } {
  const mode = modes.find(each => each === registry['mode'])
  if (mode === undefined) return { faults: [`Unknown registry mode: ${show(registry['mode'])}`] }
  const faults = moduleRules({ registry }).map(({ rule = '' }) => rule)
  const name = sections[mode]
  const section = name === undefined ? undefined : registry[name]
  if (name === undefined || section === undefined) {
    return faults.length > 0 ? { faults } : { params: { mode, checkMode: 'Default' } }
  }
  if (!isMapping(section)) return { faults: [`registry.${name}: expected a mapping of settings`] }
  const reader = new SectionReader(`registry.${name}`, section)
  const upstream = reader.upstream()
  const ttl = name === 'proxy' ? reader.ttl() : undefined
  const checkMode = reader.checkMode()
  const all = [...faults, ...reader.faults]
  return all.length > 0 ? { faults: all } : { params: { mode, upstream, checkMode, ...(ttl === undefined ? {} : { ttl }) } }
}

class SectionReader {
  readonly faults: string[] = []
  readonly #where: string
  readonly #section: Record<string, unknown>

  constructor(where: string, section: Record<string, unknown>) {
    this.#where = where
    this.#section = section
  }

  upstream(): UpstreamParams {
    const imagesRepo = (this.#text('imagesRepo') ?? defaultRepo).trim().replace(/\/+$/, '')
    if (imagesRepo !== '' && parseImagesRepo(imagesRepo) === undefined) this.#fault(`'imagesRepo' is no repository: ${show(imagesRepo)}`)
    const scheme = this.#text('scheme') ?? 'HTTPS'
    if (scheme !== 'HTTP' && scheme !== 'HTTPS') this.faults.push(`Invalid scheme '${scheme}'; expected 'HTTP' or 'HTTPS'`)
    const license = this.#secret('license')
    const username = license === '' ? this.#secret('username') : licenseUser
    const password = license === '' ? this.#secret('password') : license
    const ca = this.#ca()
    return { imagesRepo, scheme: scheme === 'HTTP' ? 'http' : 'https', username, password, ...(ca === undefined ? {} : { ca }) }
  }

  ttl(): string | undefined {
    const ttl = this.#text('ttl')
    if (ttl === undefined || ttl === '') return undefined
    if (!new RegExp(ttlPattern).test(ttl)) {
      this.faults.push(`invalid ttl format ${JSON.stringify(ttl)}: does not match required pattern "${ttlPattern}"`)
    }
    return ttl
  }

  checkMode(): CheckMode {
    const checkMode = this.#text('checkMode') ?? 'Default'
    if (checkMode === 'Default' || checkMode === 'Relax') return checkMode
    this.faults.push(`unknown registry check mode: ${checkMode}`)
    return 'Default'
  }

  #ca(): string | undefined {
    const ca = this.#text('ca')
    if (ca === undefined || ca.trim() === '') return undefined
    if (ca.length > maxCaBytes) this.#fault(`'ca' is larger than ${maxCaBytes / 1024} KiB; give the authorities of this registry alone.`)
    else {
      const certificates = parseCertificates(ca)
      if (certificates !== undefined) return certificates
      this.faults.push('failed to decode CA certificate: expected certificates in PEM and nothing else')
    }
    return undefined
  }

  #secret(name: string): string {
    const value = this.#text(name) ?? ''
    const fits = value.length <= maxSecretLength && value.isWellFormed() && !/\p{Cc}/u.test(value)
    if (!fits) this.#fault(`'${name}' must be at most ${maxSecretLength} characters without control characters.`)
    else if (name === 'username' && value.includes(':')) this.#fault("'username' must not contain a colon.")
    return fits ? value : ''
  }

  #text(name: string): string | undefined {
    const value = this.#section[name]
    if (value === undefined || value === null || typeof value === 'string') return value ?? undefined
    this.#fault(`'${name}' must be a text.`)
    return undefined
  }

  #fault(text: string): void {
    this.faults.push(`${this.#where}: ${text}`)
  }
}

function show(value: unknown): string {
  return typeof value === 'string' ? value.slice(0, 100) : (JSON.stringify(value)?.slice(0, 100) ?? 'nothing')
}
