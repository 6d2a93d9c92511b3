import type { Server } from 'node:http'
import type { AddressInfo } from 'node:net'

/** Listens on an address or on the path of a Unix socket; rejects with an error that names the setting. */
export function listen(server: Server, at: { host: string; port: number } | string, setting: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const onError = (cause: Error) => reject(new Error(`${setting}: ${cause.message}`, { cause }))
    server.once('error', onError)
    server.listen(typeof at === 'string' ? { path: at } : { ...at, backlog: 1024 }, () => {
      server.off('error', onError)
      resolve()
    })
  })
}

/** The address of a listening server, as `<host>:<port>`. */
export function addressText(server: Server): string {
  const { address, port, family } = server.address() as AddressInfo
  return family === 'IPv6' ? `[${address}]:${port}` : `${address}:${port}`
}
