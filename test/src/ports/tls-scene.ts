import { execFileSync } from 'node:child_process'
import { X509Certificate } from 'node:crypto'
import { once } from 'node:events'
import { cpSync, readFileSync, writeFileSync } from 'node:fs'
import { createServer, type Server } from 'node:https'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { type ConnectionOptions, connect } from 'node:tls'
import type { Test } from 'tap'
import { certificateName, openTls, type RefusedCertificate, type TlsFiles } from '../../../src/ports/tls.ts'

const never = 3_600_000
export const body = Buffer.alloc(32 * 1024 * 1024, 'registry')

/** Certificates made by openssl, as `<name>.crt` and `<name>.key` in one directory. */
export class Pki {
  readonly directory: string

  constructor(t: Test) {
    this.directory = t.testdir({})
  }

  path(name: string): string {
    return join(this.directory, name)
  }

  read(name: string): Buffer {
    return readFileSync(this.path(name))
  }

  /** Makes a certificate; without an issuer it signs itself, with `ca` it may sign others. */
  make(name: string, options: { cn: string; issuer?: string; ca?: 'ca'; days?: number }): this {
    const { cn, issuer, ca, days = 30 } = options
    const newKey = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', this.path(`${name}.key`)]
    const signed = issuer === undefined ? [] : ['-CA', this.path(`${issuer}.crt`), '-CAkey', this.path(`${issuer}.key`)]
    const kind = ca ? 'basicConstraints=critical,CA:TRUE' : 'basicConstraints=CA:FALSE'
    const names = ['-subj', cn, '-addext', kind, '-addext', 'subjectAltName=DNS:localhost']
    execFileSync('openssl', ['req', '-x509', ...newKey, ...signed, ...names, '-days', `${days}`, '-out', this.path(`${name}.crt`)], {
      stdio: 'pipe'
    })
    return this
  }

  /** Makes a certificate that signed itself end yesterday. */
  expire(name: string): this {
    const [path, key] = [this.path(`${name}.crt`), this.path(`${name}.key`)]
    execFileSync('openssl', ['x509', '-in', path, '-signkey', key, '-days', '-1', '-out', path], { stdio: 'pipe' })
    return this
  }

  /** Makes the revocation list `<name>` of an authority, with these certificates of it; by default it counts for a day. */
  revoke(name: string, authority: string, certificates: readonly string[], days = 1): this {
    const at = (offset: number) =>
      new Date(Date.now() + offset * 86_400_000)
        .toISOString()
        .replace(/[-:T]|\..*/g, '')
        .slice(2)
    const serial = (pair: string) => new X509Certificate(this.read(`${pair}.crt`)).serialNumber
    const line = (pair: string) => `R\t${at(300)}Z\t${at(-1)}Z\t${serial(pair)}\tunknown\t/CN=${pair}\n`
    writeFileSync(this.path('index.txt'), certificates.map(line).join(''))
    const settings = `[ca]\ndefault_ca=own\n[own]\ndatabase=${this.path('index.txt')}\ndefault_md=sha256\n`
    writeFileSync(this.path('ca.conf'), settings)
    const pair = ['-cert', this.path(`${authority}.crt`), '-keyfile', this.path(`${authority}.key`)]
    const times = ['-crl_lastupdate', `${at(days - 2)}Z`, '-crl_nextupdate', `${at(days)}Z`]
    execFileSync('openssl', ['ca', '-gencrl', '-config', this.path('ca.conf'), ...pair, ...times, '-out', this.path(name)], {
      stdio: 'pipe'
    })
    return this
  }

  /** Puts the pair of `from` in the place of `to`. */
  install(from: string, to: string): void {
    for (const end of ['crt', 'key']) cpSync(this.path(`${from}.${end}`), this.path(`${to}.${end}`))
  }
}

/** A directory with a CA, two pairs for the server, and the first of them installed. */
export function pkiWithServer(t: Test): Pki {
  const pki = new Pki(t).make('ca', { cn: '/CN=test CA', ca: 'ca' })
  pki.make('one', { cn: '/CN=one', issuer: 'ca' }).make('two', { cn: '/CN=two', issuer: 'ca' })
  pki.install('one', 'server')
  return pki
}

/** A real HTTPS server over the files; each request is answered with `body`, and its sender's certificate name is noted. */
export async function serve(t: Test, pki: Pki, options: { clientCA?: string; clientCRL?: string; now?: () => number } = {}) {
  const events = { names: [] as (string | undefined)[], reloads: 0, faults: [] as string[], refused: [] as RefusedCertificate[] }
  const files: TlsFiles = { certificate: pki.path('server.crt'), key: pki.path('server.key') }
  if (options.clientCA !== undefined) files.clientCA = pki.path(options.clientCA)
  if (options.clientCRL !== undefined) files.clientCRL = pki.path(options.clientCRL)
  const tls = await openTls({
    files,
    intervalMs: never,
    now: options.now ?? Date.now,
    onReload: () => events.reloads++,
    onFault: fault => events.faults.push(String(fault)),
    onRefused: refused => events.refused.push(refused)
  })
  const server: Server = createServer(tls.options, (request, response) => {
    events.names.push(certificateName(request.socket))
    response.end(body)
  })
  tls.attach(server)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    tls.close()
    server.closeAllConnections()
    server.close()
  })
  const target = { host: '127.0.0.1', port: (server.address() as AddressInfo).port, servername: 'localhost', ca: pki.read('ca.crt') }
  const reload = async (): Promise<void> => {
    await tls.check()
    await tls.check()
  }
  return { tls, events, target, reload }
}

/** Connects, sends one request, waits for the beginning of the answer, and closes; throws if the server closes first. */
export async function talk(options: ConnectionOptions): Promise<{ reused: boolean; session: Buffer | undefined; server: unknown }> {
  const socket = connect(options)
  let session: Buffer | undefined
  socket.on('session', newer => {
    session = newer
  })
  await once(socket, 'secureConnect')
  const server = socket.getPeerCertificate().subject?.CN
  socket.write('GET / HTTP/1.1\r\nHost: localhost\r\n\r\n')
  await new Promise((resolve, reject) => {
    socket.once('data', resolve)
    socket.once('error', reject)
    socket.once('close', () => reject(new Error('closed without an answer')))
  })
  const reused = socket.isSessionReused()
  socket.destroy()
  return { reused, session, server }
}

/** The outcome of a connection that presents a pair of the directory. */
export async function talkAs(pki: Pki, target: ConnectionOptions, pair: string): Promise<string> {
  try {
    await talk({ ...target, cert: pki.read(`${pair}.crt`), key: pki.read(`${pair}.key`) })
    return 'answered'
  } catch {
    return 'closed'
  }
}
