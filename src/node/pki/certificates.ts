import { createPrivateKey, X509Certificate } from 'node:crypto'
import { isIP } from 'node:net'
import type { KeyPair } from '../render/render.ts'

const dayMs = 86_400_000

/** How long certificates are valid; those of authorities as the original's. */
export const lifetimes = { authorityMs: 3650 * dayMs, serverMs: 365 * dayMs } as const

/** Whether two thirds of the certificate's life are over; `now` is milliseconds. */
export function isDue(certificate: X509Certificate, now: number): boolean {
  const [from, to] = [certificate.validFromDate.getTime(), certificate.validToDate.getTime()]
  return now >= from + ((to - from) * 2) / 3
}

/** Whether an authority that a node made is still good: a whole pair, and no third of its life from its end. */
export function isGoodAuthority(pair: KeyPair, now: number): boolean {
  const certificate = certificateOf(pair)
  return certificate?.ca === true && !isDue(certificate, now)
}

/**
 * Whether a server's certificate is still good: a whole pair, signed by one of the authorities, for all of the names
 * (host names and IP addresses), and no third of its life from its end.
 */
export function isGoodServer(
  pair: KeyPair,
  { names, authorities, now }: { names: readonly string[]; authorities: readonly X509Certificate[]; now: number }
): boolean {
  const certificate = certificateOf(pair)
  if (!certificate || isDue(certificate, now)) return false
  const signed = authorities.some(authority => certificate.checkIssued(authority) && certificate.verify(authority.publicKey))
  return signed && names.every(name => (isIP(name) ? certificate.checkIP(name) : certificate.checkHost(name)) !== undefined)
}

/** The certificate of a pair; undefined if either cannot be read or the key is another's. */
function certificateOf({ certificate, key }: KeyPair): X509Certificate | undefined {
  try {
    const read = new X509Certificate(certificate)
    return read.checkPrivateKey(createPrivateKey(key)) ? read : undefined
  } catch {
    return undefined
  }
}
