import { parseAddress } from './units.ts'

/** The pattern of `imagesRepo` in the ModuleConfig. It accepts `..` and port 99999; `parseImagesRepo` does not. */
export const imagesRepoPattern = '^[0-9a-zA-Z.-]+(:[0-9]{1,5})?(/[0-9a-zA-Z._-]+)*$'

/** `host` or `host:port` in lower case, an IPv6 address in brackets; undefined if invalid. */
export const parseHost = (text: string): string | undefined => {
  const written = /:[0-9]+$/.test(text) && !text.endsWith(']') ? text : `${text}:443`
  const address = parseAddress(written)
  if (!address || address.port === 0 || /:0[0-9]*$/.test(written)) return undefined
  const host = text.toLowerCase()
  // `0x7f.0x1` would be a valid name, but URL parsers read it as 127.0.0.1.
  return host.startsWith('[') || hostOf(baseUrl('HTTPS', host)) === address.host.toLowerCase() ? host : undefined
}

/** A registry, and the repository prefix in it without slashes around it; undefined if invalid. */
export const parseImagesRepo = (text: string): { host: string; path: string } | undefined => {
  if (!new RegExp(imagesRepoPattern).test(text)) return undefined
  const [first = '', ...segments] = text.split('/')
  const host = parseHost(first)
  if (host === undefined || segments.some(segment => segment === '.' || segment === '..')) return undefined
  return { host, path: segments.join('/') }
}

/** The text that `parseImagesRepo` parses to this value. */
export const formatImagesRepo = ({ host, path }: { host: string; path: string }): string => [host, path].filter(Boolean).join('/')

/** The base URL of a parsed host, without a default port and a final slash. */
export const baseUrl = (scheme: 'HTTP' | 'HTTPS', host: string): string => new URL(`${scheme.toLowerCase()}://${host}`).origin

/** The URL of a proxy, without a final slash; undefined if invalid. As in curl, the default scheme is http. */
export const parseProxy = (text: string): string | undefined => {
  const full = /^[a-z][a-z0-9+.-]*:\/\//i.test(text) ? text : `http://${text}`
  if (/[\s\p{C}\\]/u.test(full) || !URL.canParse(full)) return undefined
  const url = new URL(full)
  const bare = url.pathname === '/' && !url.search && !url.hash && !/[?#]/.test(full)
  const place = parseHost(url.host)
  return bare && place && (url.protocol === 'http:' || url.protocol === 'https:') ? url.href.slice(0, -1) : undefined
}

const hostOf = (url: string): string => new URL(url).hostname
