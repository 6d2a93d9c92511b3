import { constants, createPrivateKey, hkdfSync, randomBytes, X509Certificate } from 'node:crypto'
import type { Socket } from 'node:net'
import { createSecureContext, type SecureContextOptions, type Server, TLSSocket, type TlsOptions } from 'node:tls'
import { type Contents, watchFiles } from './watch.ts'

/** The PEM files of a port; with `clientCA` a client certificate is asked for, verified if given, never demanded. */
export type TlsFiles = { certificate: string; key: string; clientCA?: string }

/** When the first certificate of each kind ends: those of our own chain, and those that clients are verified with. */
export interface Expiry {
  server: Date
  client_ca?: Date
}

/** A client certificate that did not verify; its connection is closed. */
export interface RefusedCertificate {
  address: string | undefined
  /** The common name that it claims, which nothing vouches for. */
  claimed: string | undefined
  reason: string
}

/** What the owner of a port wants to hear of. */
export interface TlsEvents {
  /** Changed files are in use. */
  onReload: (expiry: Expiry) => void
  /** The files on disk cannot be used, those before them stay in use; or they can, but are outside their dates. */
  onFault: (fault: unknown) => void
  onRefused: (refused: RefusedCertificate) => void
}

/** The TLS side of a port, whose files may change while it runs. */
export interface Tls {
  /** For `https.createServer` and its like. */
  readonly options: TlsOptions
  /** When the certificates in use end. */
  readonly expiry: Expiry
  /** Closes connections with a bad client certificate, and hands changed files to the server; connections that stand go on. */
  attach(server: Server): void
  /** Looks at the files now; a change is taken at the second look that finds it. */
  check(): Promise<void>
  /** Looks at the files no more. */
  close(): void
}

/** Checked files, ready for use. */
interface Usable {
  context: SecureContextOptions
  leaf: X509Certificate
  expiry: Expiry
}

// AES-128 first: with the instructions of today's processors it costs the least of them.
const ciphers = [
  'TLS_AES_128_GCM_SHA256',
  'TLS_AES_256_GCM_SHA384',
  'TLS_CHACHA20_POLY1305_SHA256',
  'ECDHE-ECDSA-AES128-GCM-SHA256',
  'ECDHE-RSA-AES128-GCM-SHA256',
  'ECDHE-ECDSA-AES256-GCM-SHA384',
  'ECDHE-RSA-AES256-GCM-SHA384',
  'ECDHE-ECDSA-CHACHA20-POLY1305',
  'ECDHE-RSA-CHACHA20-POLY1305'
].join(':')

/** Reads and checks the files, rejects if they cannot be used, and looks for changes every `interval` milliseconds. */
export async function openTls(options: { files: TlsFiles; interval: number; now: () => number } & TlsEvents): Promise<Tls> {
  const { files, interval, now, onReload, onFault, onRefused } = options
  const secret = randomBytes(32)
  let server: Server | undefined

  function load(contents: Contents<TlsFiles>, previous: Usable | undefined): Usable {
    const usable = examine(contents, secret)
    const fault = dateFault(usable.leaf, now())
    if (fault === undefined) return usable
    if (previous && dateFault(previous.leaf, now()) === undefined) throw new Error(fault)
    // With nothing better at hand, clients that do not look at dates are still served.
    onFault(new Error(fault))
    return usable
  }

  const watched = await watchFiles({
    files,
    intervalMs: interval,
    load,
    onChange(usable) {
      server?.setSecureContext(usable.context)
      onReload(usable.expiry)
    },
    onFault
  })
  return {
    get options() {
      const asked = files.clientCA === undefined ? {} : { requestCert: true, rejectUnauthorized: false }
      return { ...watched.value.context, ...asked }
    },
    get expiry() {
      return watched.value.expiry
    },
    attach(attached) {
      server = attached
      attached.setSecureContext(watched.value.context)
      // Before the listener of the HTTP server, so that no request of a refused client gets in.
      attached.prependListener('secureConnection', socket => inspectClient(socket, onRefused))
    },
    check: watched.check,
    close: watched.stop
  }
}

/** The common name of the certificate that the client itself holds, if it was verified; names further up its chain never count. */
export function certificateName(socket: Socket): string | undefined {
  if (!(socket instanceof TLSSocket) || !socket.authorized) return undefined
  return commonName(socket)
}

function inspectClient(socket: TLSSocket, onRefused: TlsEvents['onRefused']): void {
  if (socket.authorized || !socket.getPeerX509Certificate()) return
  const { remoteAddress: address, authorizationError } = socket
  onRefused({ address, claimed: commonName(socket), reason: String(authorizationError) })
  socket.destroy()
}

function commonName(socket: TLSSocket): string | undefined {
  // Several names are an array here; which of them would be meant is anyone's guess.
  const name: unknown = socket.getPeerCertificate()?.subject?.CN
  return typeof name === 'string' && name !== '' ? name : undefined
}

function examine(contents: Contents<TlsFiles>, secret: Buffer): Usable {
  const [leaf, ...chain] = certificatesOf(contents.certificate, 'certificate')
  const authorities = contents.clientCA && certificatesOf(contents.clientCA, 'clientCA')
  const context = contextOptions(contents, secret)
  try {
    if (!leaf.checkPrivateKey(createPrivateKey(contents.key))) throw new Error('it does not belong to the certificate')
  } catch (cause) {
    throw new Error(`tls key: ${reasonOf(cause)}`, { cause })
  }
  // OpenSSL has the last word, and it must speak before the server lets go of its old context.
  createSecureContext(context)
  const server = firstEnd([leaf, ...chain])
  return { context, leaf, expiry: authorities ? { server, client_ca: firstEnd(authorities) } : { server } }
}

function contextOptions({ certificate, key, clientCA }: Contents<TlsFiles>, secret: Buffer): SecureContextOptions {
  // Tickets outlive a renewed certificate. They carry who the client was, so that they must not outlive the CA that vouched for it.
  const ticketKeys = Buffer.from(hkdfSync('sha256', secret, clientCA ?? '', 'session tickets', 48))
  const trusted = clientCA === undefined ? {} : { ca: clientCA }
  // Another certificate in the middle of a connection would change who sends its requests.
  const secureOptions = constants.SSL_OP_NO_RENEGOTIATION
  return { cert: certificate, key, ...trusted, ciphers, honorCipherOrder: true, minVersion: 'TLSv1.2', secureOptions, ticketKeys }
}

function certificatesOf(pem: Buffer, setting: string): [X509Certificate, ...X509Certificate[]] {
  const text = pem.toString('latin1')
  const blocks = [...text.matchAll(/-----BEGIN ([A-Z0-9 ]+)-----[\s\S]*?-----END \1-----/g)]
  try {
    if (text.split('-----BEGIN').length - 1 !== blocks.length) throw new Error('it is cut short')
    const certificates = blocks.filter(([, label]) => label === 'CERTIFICATE')
    const [leaf, ...chain] = certificates.map(([block]) => new X509Certificate(block))
    if (!leaf) throw new Error('it holds no certificate in PEM form')
    return [leaf, ...chain]
  } catch (cause) {
    throw new Error(`tls ${setting}: ${reasonOf(cause)}`, { cause })
  }
}

function dateFault(leaf: X509Certificate, time: number): string | undefined {
  if (time < leaf.validFromDate.getTime()) return `tls certificate: it is not valid before ${leaf.validFromDate.toISOString()}`
  if (time > leaf.validToDate.getTime()) return `tls certificate: it ended at ${leaf.validToDate.toISOString()}`
  return undefined
}

function firstEnd(certificates: readonly X509Certificate[]): Date {
  return new Date(Math.min(...certificates.map(certificate => certificate.validToDate.getTime())))
}

function reasonOf(cause: unknown): string {
  return cause instanceof Error ? cause.message : String(cause)
}
