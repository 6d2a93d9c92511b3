import { BlockList, isIP, type LookupFunction } from 'node:net'

/** Ranges of addresses that only hosts of the settings may have (IANA special-purpose registries, RFC 6890). */
export type SpecialRange = 'private' | 'loopback' | 'link-local' | 'metadata' | 'unspecified' | 'multicast'

type Subnet = readonly [address: string, prefix: number]

// A range of IPv4 stands for its forms in IPv6 too. `metadata` comes first, since it lies within other ranges.
const networks: Record<SpecialRange, readonly Subnet[]> = {
  metadata: [
    // AWS, Google, Azure and most others
    ['169.254.169.254', 32],
    ['fd00:ec2::254', 128],
    ['fd20:ce::254', 128],
    // AWS: containers, pods
    ['169.254.170.2', 32],
    ['169.254.170.23', 32],
    ['fd00:ec2::23', 128],
    // Alibaba, Azure, Oracle, Tencent, Scaleway
    ['100.100.100.200', 32],
    ['168.63.129.16', 32],
    ['192.0.0.192', 32],
    ['169.254.0.23', 32],
    ['169.254.42.42', 32],
    ['fd00:42::42', 128]
  ],
  loopback: [
    ['127.0.0.0', 8],
    ['::1', 128]
  ],
  'link-local': [
    ['169.254.0.0', 16],
    ['fe80::', 10]
  ],
  unspecified: [
    ['0.0.0.0', 8],
    ['::', 128]
  ],
  multicast: [
    ['224.0.0.0', 4],
    ['255.255.255.255', 32],
    ['ff00::', 8]
  ],
  private: [
    ['10.0.0.0', 8],
    ['172.16.0.0', 12],
    ['192.168.0.0', 16],
    ['100.64.0.0', 10],
    ['192.0.0.0', 24],
    ['198.18.0.0', 15],
    ['240.0.0.0', 4],
    ['fc00::', 7],
    ['fec0::', 10],
    ['64:ff9b:1::', 48]
  ]
}

const lists = Object.entries(networks).map(([range, subnets]) => {
  const list = new BlockList()
  for (const [address, prefix] of subnets.flatMap(each => [each, ...embedded(each)])) list.addSubnet(address, prefix, familyOf(address))
  return { range: range as SpecialRange, list }
})

// NAT64 (RFC 6052), 6to4 (RFC 3056) and the obsolete IPv4-compatible addresses; a BlockList knows the mapped ones.
function embedded([address, prefix]: Subnet): Subnet[] {
  if (isIP(address) === 6) return []
  const [a = 0, b = 0, c = 0, d = 0] = address.split('.').map(Number)
  const [high, low] = [a * 256 + b, c * 256 + d].map(each => each.toString(16))
  return [
    [`64:ff9b::${high}:${low}`, 96 + prefix],
    [`2002:${high}:${low}::`, 16 + prefix],
    [`::${high}:${low}`, 96 + prefix]
  ]
}

function familyOf(address: string): 'ipv4' | 'ipv6' {
  return isIP(address) === 6 ? 'ipv6' : 'ipv4'
}

/** The special range of an address; IPv4 inside of IPv6 counts as IPv4. */
export function specialRange(address: string): SpecialRange | undefined {
  const plain = address.replace(/%.*$/, '')
  return lists.find(({ list }) => list.check(plain, familyOf(plain)))?.range
}

/** The address in a URL's `hostname`; undefined for a name. */
export function literalAddress(hostname: string): string | undefined {
  const bare = hostname.startsWith('[') ? hostname.slice(1, -1) : hostname
  return isIP(bare) === 0 ? undefined : bare
}

/** A lookup that passes each address to `check` before it is connected to; an error of `check` fails the lookup. */
export function checkedLookup(lookup: LookupFunction, check: (address: string, hostname: string) => void): LookupFunction {
  return (hostname, options, callback) => {
    lookup(hostname, { ...options, all: true }, (error, found, family) => {
      if (error) return callback(error, '')
      const all = typeof found === 'string' ? [{ address: found, family: family ?? isIP(found) }] : found
      try {
        for (const { address } of all) check(address, hostname)
      } catch (refusal) {
        return callback(refusal as NodeJS.ErrnoException, '')
      }
      const [first] = all
      if (options.all) callback(null, all)
      else callback(null, first?.address ?? '', first?.family)
    })
  }
}
