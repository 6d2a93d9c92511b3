import { BlockList, isIP } from 'node:net'
import { literalAddress } from './addresses.ts'

/**
 * Reads NO_PROXY (`*`, hosts with their subdomains, `host:port`, addresses, networks): whether a URL is connected to
 * directly.
 */
export function parseNoProxy(text: string | undefined): (url: URL) => boolean {
  const rules = (text ?? '')
    .split(/[\s,]+/)
    .filter(each => each !== '')
    .map(each => parseRule(each.toLowerCase()))
  return url => rules.some(rule => rule(url))
}

function parseRule(text: string): (url: URL) => boolean {
  if (text === '*') return () => true
  const network = parseNetwork(text)
  if (network) return url => network(literalAddress(url.hostname))
  const [, host = text, port] = /^(.*?)(?::(\d{1,5}))?$/.exec(text) ?? []
  const bare = host.replace(/^\*?\./, '')
  return url => {
    const ownPort = url.port || (url.protocol === 'https:' ? '443' : '80')
    const name = url.hostname.toLowerCase()
    return (port === undefined || port === ownPort) && (name === bare || name.endsWith(`.${bare}`))
  }
}

function parseNetwork(text: string): ((address: string | undefined) => boolean) | undefined {
  const [, address = '', prefix] = /^\[?([\da-f.:]+)\]?(?:\/(\d{1,3}))?$/.exec(text) ?? []
  const version = isIP(address)
  const length = Number(prefix ?? (version === 6 ? 128 : 32))
  if (version === 0 || length > (version === 6 ? 128 : 32)) return undefined
  const list = new BlockList()
  list.addSubnet(address, length, version === 6 ? 'ipv6' : 'ipv4')
  return other => other !== undefined && list.check(other, isIP(other) === 6 ? 'ipv6' : 'ipv4')
}
