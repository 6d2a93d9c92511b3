import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { must } from './command.ts'

/** Paths of a certificate authority and of a server certificate that it signed. */
export interface Pki {
  ca: string
  certificate: string
  key: string
}

/** Makes an authority and a server certificate for these IP addresses in the folder. */
export async function makePki(folder: string, addresses: readonly string[] = ['127.0.0.1']): Promise<Pki> {
  const at = (name: string) => join(folder, name)
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes']
  await must('openssl', ['req', '-x509', ...key, '-keyout', at('ca.key'), '-out', at('ca.crt'), '-days', '2', '-subj', '/CN=registry-ca'])
  await must('openssl', ['req', ...key, '-keyout', at('tls.key'), '-out', at('tls.csr'), '-subj', '/CN=registry'])
  const ips = addresses.map(each => `IP:${each}`).join(',')
  await writeFile(at('extensions'), `subjectAltName=${ips},DNS:localhost,DNS:registry.d8-system.svc\nextendedKeyUsage=serverAuth\n`)
  const signed = ['-CA', at('ca.crt'), '-CAkey', at('ca.key'), '-CAcreateserial', '-days', '2', '-extfile', at('extensions')]
  await must('openssl', ['x509', '-req', '-in', at('tls.csr'), '-out', at('tls.crt'), ...signed])
  return { ca: at('ca.crt'), certificate: at('tls.crt'), key: at('tls.key') }
}
