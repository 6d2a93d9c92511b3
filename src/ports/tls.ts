import { constants, createPrivateKey, hkdfSync, randomBytes, X509Certificate } from 'node:crypto'
import type { Socket } from 'node:net'
import { createSecureContext, type SecureContextOptions, type Server, TLSSocket, type TlsOptions } from 'node:tls'
import { parseRevocationLists, type RevocationList, revokedOf, subjectOf } from './crl.ts'
import { type Contents, watchFiles } from './watch.ts'

/**
 * The PEM files of a port. With `clientCA` a client certificate is optional, and verified if presented; with
 * `clientCRL` it must not be revoked either.
 */
export type TlsFiles = { certificate: string; key: string; clientCA?: string; clientCRL?: string }

/** The earliest expiry of each kind: of the server's chain, of the CAs of clients, and of the revocation lists. */
export interface Expiry {
  server: Date
  client_ca?: Date
  client_crl?: Date
}

/** A client certificate that failed verification; its connection is closed. */
export interface RefusedCertificate {
  address: string | undefined
  /** The common name in the certificate; unverified. */
  claimed: string | undefined
  reason: string
}

/** Callbacks for the owner of a port. */
export interface TlsEvents {
  /** Changed files took effect. */
  onReload: (expiry: Expiry) => void
  /** The files are invalid and the previous ones stay in use, or they are in use although expired or not yet valid. */
  onFault: (fault: unknown) => void
  onRefused: (refused: RefusedCertificate) => void
}

/** The TLS configuration of a port, reloaded when its files change. */
export interface Tls {
  /** For `https.createServer` and its like. */
  readonly options: TlsOptions
  /** The expiry of the certificates in use. */
  readonly expiry: Expiry
  /**
   * Closes connections with an invalid client certificate, also those that are open when it is revoked, and uses
   * reloaded files for new connections.
   */
  attach(server: Server): void
  /** Polls the files once, now. A change takes effect at the second poll that finds it. */
  check(): Promise<void>
  /** Stops polling. */
  close(): void
}

/** Valid files. */
interface LoadedFiles {
  context: SecureContextOptions
  leaf: X509Certificate
  revocations: readonly RevocationList[]
  expiry: Expiry
}

// AES-128 first: with AES instructions it costs the least CPU time of them.
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

/** Loads the files and polls them for changes; rejects if they are invalid. `now` is in milliseconds. */
export async function openTls(options: { files: TlsFiles; intervalMs: number; now: () => number } & TlsEvents): Promise<Tls> {
  const { files, intervalMs, now, onReload, onFault, onRefused } = options
  const secret = randomBytes(32)
  let server: Server | undefined
  // Connections with a verified client certificate.
  const verified = new Set<TLSSocket>()

  function load(contents: Contents<TlsFiles>, previous: LoadedFiles | undefined): LoadedFiles {
    const loaded = parseFiles(contents, secret)
    const fault = validityFault(loaded, now())
    if (fault === undefined) return loaded
    if (previous && validityFault(previous, now()) === undefined) throw new Error(fault)
    // With no valid certificate at all, still serves the clients that do not check dates.
    onFault(new Error(fault))
    return loaded
  }

  const watched = await watchFiles({
    files,
    intervalMs,
    load,
    onChange(loaded) {
      server?.setSecureContext(loaded.context)
      for (const socket of verified) closeIfRevoked(socket, loaded.revocations, onRefused)
      onReload(loaded.expiry)
    },
    onFault
  })
  return {
    get options() {
      const client = files.clientCA === undefined ? {} : { requestCert: true, rejectUnauthorized: false }
      return { ...watched.value.context, ...client }
    },
    get expiry() {
      return watched.value.expiry
    },
    attach(attached) {
      server = attached
      attached.setSecureContext(watched.value.context)
      // Before the HTTP server's listener, so that no request of a refused client is handled.
      attached.prependListener('secureConnection', socket => {
        inspectClient(socket, onRefused)
        if (files.clientCRL === undefined || !socket.authorized) return
        verified.add(socket)
        socket.once('close', () => verified.delete(socket))
      })
    },
    check: watched.check,
    close: watched.stop
  }
}

/** The common name of the client's own certificate if it was verified; never that of a CA in its chain. */
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

function closeIfRevoked(socket: TLSSocket, revocations: readonly RevocationList[], onRefused: TlsEvents['onRefused']): void {
  const certificate = socket.getPeerX509Certificate()
  if (!certificate || !revokedOf(certificate, revocations)) return
  onRefused({ address: socket.remoteAddress, claimed: commonName(socket), reason: 'CERT_REVOKED' })
  socket.destroy()
}

function commonName(socket: TLSSocket): string | undefined {
  // An array if the certificate has several common names, which is ambiguous.
  const name: unknown = socket.getPeerCertificate()?.subject?.CN
  return typeof name === 'string' && name !== '' ? name : undefined
}

function parseFiles(contents: Contents<TlsFiles>, secret: Buffer): LoadedFiles {
  const [leaf, ...chain] = certificatesOf(contents.certificate, 'certificate')
  const authorities = contents.clientCA && certificatesOf(contents.clientCA, 'clientCA')
  const revocations = contents.clientCRL ? revocationsOf(contents.clientCRL, authorities ?? []) : []
  const context = { ...contextOptions(contents, secret), ...(contents.clientCRL ? { crl: revocations.map(list => list.pem) } : {}) }
  try {
    if (!leaf.checkPrivateKey(createPrivateKey(contents.key))) throw new Error('it does not belong to the certificate')
  } catch (cause) {
    throw new Error(`tls key: ${reasonOf(cause)}`, { cause })
  }
  // Throws what OpenSSL refuses, before the server replaces its context.
  createSecureContext(context)
  const server = firstEnd([leaf, ...chain])
  const expiry = {
    server,
    ...(authorities ? { client_ca: firstEnd(authorities) } : {}),
    ...(revocations.length > 0 ? { client_crl: nextUpdate(revocations) } : {})
  }
  return { context, leaf, revocations, expiry }
}

// OpenSSL refuses every certificate of an authority without a list, which no operator means.
function revocationsOf(pem: Buffer, authorities: readonly X509Certificate[]): RevocationList[] {
  try {
    const lists = parseRevocationLists(pem)
    const without = authorities.find(authority => !lists.some(list => list.issuer === subjectOf(authority)))
    if (without) throw new Error(`it holds no list of ${without.subject.replaceAll('\n', ', ')}, an authority of clientCA`)
    return lists
  } catch (cause) {
    throw new Error(`tls clientCRL: ${reasonOf(cause)}`, { cause })
  }
}

function nextUpdate(lists: readonly RevocationList[]): Date {
  return new Date(Math.min(...lists.map(list => list.nextUpdate.getTime())))
}

function contextOptions({ certificate, key, clientCA, clientCRL }: Contents<TlsFiles>, secret: Buffer): SecureContextOptions {
  // Session tickets stay valid when the certificate is renewed. They carry the client's identity, so they end with the
  // CA that verified it, and with the revocation lists: a resumed session is not verified again.
  const verifiers = Buffer.concat([clientCA ?? Buffer.alloc(0), clientCRL ?? Buffer.alloc(0)])
  const ticketKeys = Buffer.from(hkdfSync('sha256', secret, verifiers, 'session tickets', 48))
  const trusted = clientCA === undefined ? {} : { ca: clientCA }
  // Renegotiation could change the client certificate, and with it the user, within a connection.
  const secureOptions = constants.SSL_OP_NO_RENEGOTIATION
  return { cert: certificate, key, ...trusted, ciphers, honorCipherOrder: true, minVersion: 'TLSv1.2', secureOptions, ticketKeys }
}

function certificatesOf(pem: Buffer, setting: string): [X509Certificate, ...X509Certificate[]] {
  const text = pem.toString('latin1')
  const blocks = [...text.matchAll(/-----BEGIN ([A-Z0-9 ]+)-----[\s\S]*?-----END \1-----/g)]
  try {
    if (text.split('-----BEGIN').length - 1 !== blocks.length) throw new Error('it is truncated')
    const certificates = blocks.filter(([, label]) => label === 'CERTIFICATE')
    const [leaf, ...chain] = certificates.map(([block]) => new X509Certificate(block))
    if (!leaf) throw new Error('it holds no certificate in PEM form')
    return [leaf, ...chain]
  } catch (cause) {
    throw new Error(`tls ${setting}: ${reasonOf(cause)}`, { cause })
  }
}

function validityFault({ leaf, expiry }: LoadedFiles, time: number): string | undefined {
  if (time < leaf.validFromDate.getTime()) return `tls certificate: it is not valid before ${leaf.validFromDate.toISOString()}`
  if (time > leaf.validToDate.getTime()) return `tls certificate: it ended at ${leaf.validToDate.toISOString()}`
  const { client_crl: due } = expiry
  if (due && time > due.getTime()) {
    return `tls clientCRL: it ended at ${due.toISOString()}; until there is a new one, client certificates of its authority are refused`
  }
  return undefined
}

function firstEnd(certificates: readonly X509Certificate[]): Date {
  return new Date(Math.min(...certificates.map(certificate => certificate.validToDate.getTime())))
}

function reasonOf(cause: unknown): string {
  return cause instanceof Error ? cause.message : String(cause)
}
