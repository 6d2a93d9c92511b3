import { X509Certificate } from 'node:crypto'

const BEGIN = '-----BEGIN '
const END = '-----END CERTIFICATE-----'

/**
 * The certificates of a PEM text; undefined if there is none, one is damaged, or the text holds anything else, such as
 * a key.
 */
export const parseCertificates = (text: string): string | undefined => {
  const blocks = text.split(BEGIN).slice(1).map(certificate)
  return blocks.length > 0 && blocks.every(block => block !== undefined) ? `${blocks.join('\n')}\n` : undefined
}

const certificate = (afterBegin: string): string | undefined => {
  const end = afterBegin.indexOf(END)
  if (end < 0 || !afterBegin.startsWith('CERTIFICATE-----')) return undefined
  const block = `${BEGIN}${afterBegin.slice(0, end)}${END}`.replaceAll('\r\n', '\n')
  try {
    return new X509Certificate(block).raw.length > 0 ? block : undefined
  } catch {
    return undefined
  }
}
