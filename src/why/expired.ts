import { X509Certificate } from 'node:crypto'

const pem = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g

/** When the first certificate of a PEM text whose time is over ended. */
export function expiredIn(certificates: string, now = Date.now()): Date | undefined {
  const ends = (certificates.match(pem) ?? []).map(each => new Date(new X509Certificate(each).validTo))
  return ends.find(end => end.getTime() < now)
}
