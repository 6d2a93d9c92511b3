import { must } from '../test/e2e/command.ts'
import type { Server } from './servers/server.ts'

/** One or many GETs of the same path by several clients at once. */
export interface Download {
  path: string
  /** Of the body; any other is a failure. */
  size: number
  clients: number
  /** How often each client asks, one after another over its connection. */
  repeat?: number
}

// More processes than this cost more to start than they receive.
const mostProcesses = 4
const limit = 600_000

/** Has curl download, checks status and size of every answer, and resolves to all their bytes together. */
export async function download(server: Server, { path, size, clients, repeat = 1 }: Download): Promise<number> {
  const processes = Math.min(clients, mostProcesses)
  const share = clients / processes
  if (!Number.isInteger(share)) throw new Error(`${clients} clients cannot be shared by ${processes} processes`)
  const targets = Array.from({ length: share * repeat }, () => [`${urlOf(server)}${path}`, '-o', '/dev/null']).flat()
  const parallel = share > 1 ? ['--parallel', '--parallel-immediate', '--parallel-max', String(share)] : []
  const written = ['--write-out', '%{http_code} %{size_download}\\n']
  const run = () => must('curl', ['-q', '-sS', ...curlTls(server), ...parallel, ...written, ...targets], { limit })
  const outputs = await Promise.all(Array.from({ length: processes }, run))
  const lines = outputs.join('').trim().split('\n')
  const wrong = lines.find(line => line !== `200 ${size}`)
  if (wrong !== undefined || lines.length !== clients * repeat) {
    throw new Error(`${server.name}: ${lines.length} answers to GET ${path}, among them ${wrong}; expected were 200 ${size}`)
  }
  return clients * repeat * size
}

/** Where a server is reached. */
export function urlOf({ address, ca }: Server): string {
  return `${ca === undefined ? 'http' : 'https'}://${address}`
}

/** What curl has to know about how a server is reached: every client uses the same version and cipher. */
export function curlTls({ ca }: Server): string[] {
  const plain = ['--noproxy', '*', '--http1.1']
  return ca === undefined ? plain : [...plain, '--cacert', ca, '--tlsv1.3', '--tls13-ciphers', 'TLS_AES_128_GCM_SHA256']
}
