import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Test } from 'tap'
import { callControl, streamControl } from '../../../src/ports/control-client.ts'
import type { Report } from '../../../src/why/report.ts'
import type { VerifyResult } from '../../../src/why/verify.ts'
import { startUpstream, type TestUpstream } from '../../support/upstream.ts'
import { folder, type Given, type Served, serve } from '../support.ts'

/** The name of the registry in references, and the repository that stands for the upstream's path. */
export const host = 'registry.test:5001'
export const own = 'system/deckhouse'
/** The path in imagesRepo. */
export const path = 'deckhouse/ee'

/** A registry in front of an upstream. */
export interface Scene {
  registry: Served
  upstream: TestUpstream
}

/** The differences to a Proxy in front of an anonymous upstream over HTTP. */
export interface SceneOptions {
  mode?: 'Direct' | 'Proxy'
  /** Settings of the upstream's section. */
  section?: Record<string, unknown>
  tls?: { key: string | Buffer; cert: string | Buffer }
  root?: string
  more?: Record<string, unknown>
}

/** A registry in front of a new upstream. */
export async function inFront(t: Test, { mode = 'Proxy', section = {}, tls, root, more = {} }: SceneOptions = {}): Promise<Scene> {
  const upstream = await startUpstream(t, tls ? { tls } : {})
  const reach = { imagesRepo: `${new URL(upstream.url).host}/${path}`, scheme: tls ? 'HTTPS' : 'HTTP', ...section }
  const registry = { mode, [mode.toLowerCase()]: reach }
  return { registry: await serveWith(t, { registry, cache: { tagTTL: '0s' }, ...(root === undefined ? {} : { root }), ...more }), upstream }
}

/** A registry with any settings. */
export function serveWith(t: Test, settings: Record<string, unknown>): Promise<Served> {
  const given: Given = settings
  return serve(t, given)
}

/** The report of `registry why`. */
export async function whyOf({ config }: Served, reference: string, depth: 'size' | 'digest' = 'digest'): Promise<Report> {
  return (await callControl(config.server.control, 'POST', '/why', { reference, depth }, 60_000)) as Report
}

/** The results of `registry verify`. */
export async function verifiedOf({ config }: Served, references: string[], depth: 'size' | 'digest' = 'size'): Promise<VerifyResult[]> {
  const call = { method: 'POST', path: '/verify', body: { references, depth } } as const
  return (await Array.fromAsync(streamControl(config.server.control, call))) as VerifyResult[]
}

/** Certificates for 127.0.0.1, made by openssl. */
export class Pki {
  readonly directory: string

  constructor(t: Test) {
    this.directory = folder(t)
    this.#run('req', '-x509', ...newKey, this.#path('ca.key'), '-subj', '/CN=test CA', '-days', '30', '-out', this.#path('ca.crt'))
  }

  get ca(): string {
    return readFileSync(this.#path('ca.crt'), 'utf8')
  }

  /** A pair signed by the CA; an expired one ended yesterday. */
  pair(time: 'valid' | 'over', name = 'IP:127.0.0.1'): { key: Buffer; cert: Buffer } {
    const leaf = ['-subj', '/CN=upstream', '-addext', `subjectAltName=${name}`, '-addext', 'basicConstraints=CA:FALSE']
    const signed = ['-CA', this.#path('ca.crt'), '-CAkey', this.#path('ca.key')]
    const [pair, again] = [this.#path('leaf.crt'), this.#path('again.crt')]
    if (time === 'valid') this.#run('req', '-x509', ...newKey, this.#path('leaf.key'), ...leaf, ...signed, '-days', '30', '-out', pair)
    else {
      const withoutKeys = ['-addext', 'subjectKeyIdentifier=none', '-addext', 'authorityKeyIdentifier=none']
      this.#run('req', '-x509', ...newKey, this.#path('leaf.key'), ...leaf, ...withoutKeys, '-out', again)
      this.#run('x509', '-in', again, ...signed, '-days', '-1', '-out', pair)
    }
    return { key: readFileSync(this.#path('leaf.key')), cert: readFileSync(this.#path('leaf.crt')) }
  }

  /** Replaces the CA certificate by one of the same key that expired yesterday: what it signed stays signed. */
  expire(): void {
    const path = this.#path('ca.crt')
    this.#run('x509', '-in', path, '-signkey', this.#path('ca.key'), '-days', '-1', '-out', path)
  }

  #path(name: string): string {
    return join(this.directory, name)
  }

  #run(...args: string[]): void {
    execFileSync('openssl', args, { stdio: 'pipe' })
  }
}

const newKey = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout']
