import type { Session } from '../long/push.ts'
import { Register } from './register.ts'

/** An upload session that was not finished. */
export interface OpenSession {
  name: string
  session: Session
}

/** A manifest of which a subject was acknowledged. */
export interface Referrer {
  name: string
  subject: string
  digest: string
}

/**
 * What is known of the registry's content from what it acknowledged. Keys are the paths at which content is asked for.
 */
export class World {
  readonly #registers = new Map<string, Map<string, Register>>()
  readonly #touched = new Set<string>()
  /** Bytes of blobs and manifests, by digest. */
  readonly sizes = new Map<string, number>()
  readonly manifests = new Map<string, Buffer>()
  readonly sessions = new Set<OpenSession>()
  readonly referrers: Referrer[] = []
  acknowledged = 0

  /** The register of a path of `name`; it counts as touched. */
  at(name: string, path: string): Register {
    const registers = this.#registers.get(name) ?? new Map<string, Register>()
    this.#registers.set(name, registers)
    const register = registers.get(path) ?? new Register()
    registers.set(path, register)
    this.#touched.add(path)
    return register
  }

  get names(): string[] {
    return [...this.#registers.keys()]
  }

  /** All paths of one kind in `name`, with their registers. */
  below(name: string, kind: 'blobs' | 'manifests'): [path: string, register: Register][] {
    return [...(this.#registers.get(name) ?? [])].filter(([path]) => path.startsWith(`/v2/${name}/${kind}/`))
  }

  /** Every path. */
  all(): [path: string, register: Register][] {
    return [...this.#registers.values()].flatMap(registers => [...registers])
  }

  /** Paths that changed since it was asked the last time. */
  takeTouched(): Set<string> {
    const touched = new Set(this.#touched)
    this.#touched.clear()
    return touched
  }
}

/** Where a blob is asked for. */
export function blobPath(name: string, digest: string): string {
  return `/v2/${name}/blobs/${digest}`
}

/** Where a manifest is asked for. */
export function manifestPath(name: string, reference: string): string {
  return `/v2/${name}/manifests/${reference}`
}

/** Whether the path asks for a tag. */
export function isTagPath(path: string): boolean {
  return path.includes('/manifests/') && !path.slice(path.lastIndexOf('/')).includes(':')
}
