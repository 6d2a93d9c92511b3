import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { must } from '../e2e/command.ts'

/** Paths of a certificate and of its key. */
export interface Certificate {
  certificate: string
  key: string
}

/** What a certificate says: its subject as OpenSSL writes it, whom it convinces, and under which names (`DNS:a,IP:b`). */
export interface Subject {
  subject: string
  usage: 'clientAuth' | 'serverAuth'
  names?: string
}

const newKey = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes']
const days = '2'

/** A certificate authority of a cluster, with its files in a folder. */
export class Authority {
  /** Path of its own certificate. */
  readonly certificate: string
  readonly key: string
  readonly #folder: string

  private constructor(folder: string, name: string) {
    this.#folder = folder
    this.certificate = join(folder, `${name}.crt`)
    this.key = join(folder, `${name}.key`)
  }

  /** Makes one. */
  static async create(folder: string, name: string): Promise<Authority> {
    const authority = new Authority(folder, name)
    const files = ['-keyout', authority.key, '-out', authority.certificate]
    const uses = ['-addext', 'basicConstraints=critical,CA:TRUE', '-addext', 'keyUsage=critical,keyCertSign,cRLSign']
    await must('openssl', ['req', '-x509', '-config', '/dev/null', ...newKey, ...files, '-days', days, '-subj', `/CN=${name}`, ...uses])
    return authority
  }

  /** Makes a key and signs a certificate for it. */
  async sign(name: string, { subject, usage, names }: Subject): Promise<Certificate> {
    const at = (suffix: string) => join(this.#folder, `${name}.${suffix}`)
    await must('openssl', ['req', ...newKey, '-keyout', at('key'), '-out', at('csr'), '-subj', subject])
    const extensions = ['basicConstraints=CA:FALSE', 'keyUsage=critical,digitalSignature', `extendedKeyUsage=${usage}`]
    if (names !== undefined) extensions.push(`subjectAltName=${names}`)
    await writeFile(at('extensions'), `${extensions.join('\n')}\n`)
    const signer = ['-CA', this.certificate, '-CAkey', this.key, '-CAcreateserial']
    await must('openssl', ['x509', '-req', '-in', at('csr'), '-out', at('crt'), ...signer, '-days', days, '-extfile', at('extensions')])
    return { certificate: at('crt'), key: at('key') }
  }
}
