import type { X509Certificate } from 'node:crypto'
import { DerReader } from './der.ts'

/** A certificate revocation list (RFC 5280 §5). */
export interface RevocationList {
  readonly pem: string
  /** The name of the authority, in DER as hexadecimal digits. */
  readonly issuer: string
  /** When the next list is due: from then on the list proves nothing. */
  readonly nextUpdate: Date
  /** Whether the list names this serial number, in hexadecimal digits. */
  revokes(serial: string): boolean
}

/** Parses revocation lists in PEM; throws an Error unless there is at least one and all are whole. */
export function parseRevocationLists(pem: Buffer): RevocationList[] {
  const text = pem.toString('latin1')
  const blocks = [...text.matchAll(/-----BEGIN X509 CRL-----([A-Za-z0-9+/=\s]*)-----END X509 CRL-----/g)]
  if (blocks.length === 0) throw new Error('it holds no X509 CRL in PEM form')
  if (text.split('-----BEGIN').length - 1 !== blocks.length) throw new Error('it is truncated, or holds something else than X509 CRLs')
  return blocks.map(([pem, base64 = '']) => parseList(pem, Buffer.from(base64, 'base64')))
}

/** The certificate of a chain, the client's own or an authority's, that one of the lists names. */
export function revokedOf(certificate: X509Certificate, lists: readonly RevocationList[]): X509Certificate | undefined {
  for (let each: X509Certificate | undefined = certificate; each; each = each.issuerCertificate) {
    const { issuer } = namesOf(each)
    const { serialNumber } = each
    if (lists.some(list => list.issuer === issuer && list.revokes(serialNumber))) return each
  }
  return undefined
}

/** The name of a certificate's subject, as `RevocationList.issuer`. */
export function subjectOf(certificate: X509Certificate): string {
  return namesOf(certificate).subject
}

// CertificateList: the signed list, the algorithm and the signature. Only what is compared is read: OpenSSL verifies.
function parseList(pem: string, der: Buffer): RevocationList {
  const list = new DerReader(der).enter('sequence').enter('sequence')
  list.skipIf('integer')
  list.skip('sequence')
  const issuer = list.take('sequence').toString('hex')
  list.time()
  if (!list.isTime()) throw new Error('a list without an end (nextUpdate) is not accepted')
  const nextUpdate = list.time()
  const revoked = new Set<string>()
  if (list.is('sequence')) {
    const entries = list.enter('sequence')
    while (!entries.isEmpty) revoked.add(withoutZeros(entries.enter('sequence').content('integer').toString('hex')))
  }
  return { pem, issuer, nextUpdate, revokes: serial => revoked.has(withoutZeros(serial)) }
}

// TBSCertificate (RFC 5280 §4.1).
function namesOf({ raw }: X509Certificate): { issuer: string; subject: string } {
  const body = new DerReader(raw).enter('sequence').enter('sequence')
  body.skipIf('version')
  body.skip('integer')
  body.skip('sequence')
  const issuer = body.take('sequence').toString('hex')
  body.skip('sequence')
  return { issuer, subject: body.take('sequence').toString('hex') }
}

// Without the zeros in front that DER and Node do or do not write.
function withoutZeros(serial: string): string {
  return serial.toLowerCase().replace(/^0+(?=.)/, '')
}
