import { createHash, type Hash } from 'node:crypto'
import { OciError } from './errors.ts'

/**
 * A digest, `<algorithm>:<encoded>`, of an algorithm that this registry verifies (image-spec, "Digests"). Made only by
 * `parseDigest` and `digestOf`.
 */
export type Digest = string & { readonly [digest]: true }
declare const digest: unique symbol

/** The registered algorithms of the image-spec. */
export type Algorithm = 'sha256' | 'sha512'

/** The algorithm of digests that are made here. */
export const canonical: Algorithm = 'sha256'

const grammar: Record<Algorithm, RegExp> = { sha256: /^sha256:[a-f0-9]{64}$/, sha512: /^sha512:[a-f0-9]{128}$/ }

/** The digest of the empty blob, by algorithm. */
export const emptyDigest: Record<Algorithm, Digest> = { sha256: digestOf(new Uint8Array()), sha512: digestOf(new Uint8Array(), 'sha512') }

/** Whether `text` is an algorithm that this registry verifies. */
export function isAlgorithm(text: string): text is Algorithm {
  return text === 'sha256' || text === 'sha512'
}

/** Whether `text` is a digest of a known algorithm. */
export function isDigest(text: string): text is Digest {
  return grammar.sha256.test(text) || grammar.sha512.test(text)
}

/** `text` as a digest; DIGEST_INVALID (400) for a bad form or an algorithm that is not supported. */
export function parseDigest(text: string): Digest {
  if (isDigest(text)) return text
  throw new OciError('DIGEST_INVALID', {
    detail: { reason: 'not a digest of sha256 or sha512 in lower-case hex', digest: text.slice(0, 160) }
  })
}

/** The algorithm of a digest. */
export function algorithmOf(value: Digest): Algorithm {
  return value.startsWith('sha256:') ? 'sha256' : 'sha512'
}

/** The encoded part of a digest, in lower-case hex. */
export function encodedOf(value: Digest): string {
  return value.slice(7)
}

/** The digest of `bytes`. */
export function digestOf(bytes: Uint8Array, algorithm: Algorithm = canonical): Digest {
  return `${algorithm}:${createHash(algorithm).update(bytes).digest('hex')}` as Digest
}

/** Computes a digest while bytes arrive. */
export interface Digester {
  readonly algorithm: Algorithm
  update(bytes: Uint8Array): void
  /** The digest of all bytes so far; the digester goes on. */
  digest(): Digest
  /** An independent digester in the same state. */
  copy(): Digester
}

/** A digester that has seen no byte yet. */
export function createDigester(algorithm: Algorithm = canonical, hash: Hash = createHash(algorithm)): Digester {
  return {
    algorithm,
    update: bytes => void hash.update(bytes),
    digest: () => `${algorithm}:${hash.copy().digest('hex')}` as Digest,
    copy: () => createDigester(algorithm, hash.copy())
  }
}
