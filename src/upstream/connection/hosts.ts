/** The port of a URL: written, or the scheme's default. */
function portOf({ port, protocol }: URL): string {
  return port || (protocol === 'https:' ? '443' : '80')
}

/** Whether two URLs have the same host and port. */
export function isSameHost(one: URL, other: URL): boolean {
  return one.hostname === other.hostname && portOf(one) === portOf(other)
}

/** Whether a list of the settings has the URL's host: `host` stands for all its ports, `host:port` for one. */
export function isListed(url: URL, hosts: readonly string[]): boolean {
  const withPort = `${url.hostname}:${portOf(url)}`
  return hosts.some(host => host === url.hostname || host === withPort)
}
