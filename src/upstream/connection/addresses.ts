import { BlockList, isIP, type LookupFunction } from 'node:net'

/** Ranges of addresses to which a redirect or a realm must not lead, unless the upstream itself is there. */
export type SpecialRange = 'loopback' | 'link-local' | 'metadata' | 'unspecified' | 'multicast'

// Some clouds have their metadata service outside of the link-local range.
const networks: Record<SpecialRange, [address: string, prefix: number][]> = {
  metadata: [
    ['169.254.169.254', 32],
    ['169.254.170.2', 32],
    ['100.100.100.200', 32],
    ['168.63.129.16', 32],
    ['192.0.0.192', 32],
    ['fd00:ec2::254', 128],
    ['64:ff9b::a9fe:a9fe', 128]
  ],
  loopback: [
    ['127.0.0.0', 8],
    ['::1', 128],
    ['64:ff9b::7f00:0', 104]
  ],
  'link-local': [
    ['169.254.0.0', 16],
    ['fe80::', 10],
    ['64:ff9b::a9fe:0', 112]
  ],
  unspecified: [
    ['0.0.0.0', 8],
    ['::', 128]
  ],
  multicast: [
    ['224.0.0.0', 4],
    ['255.255.255.255', 32],
    ['ff00::', 8]
  ]
}

const lists = Object.entries(networks).map(([range, subnets]) => {
  const list = new BlockList()
  for (const [address, prefix] of subnets) list.addSubnet(address, prefix, familyOf(address))
  return { range: range as SpecialRange, list }
})

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

/** A lookup that passes each address to `see` before it is connected to; an error of `see` fails the lookup. */
export function watchedLookup(lookup: LookupFunction, see: (address: string) => void): LookupFunction {
  return (hostname, options, callback) => {
    lookup(hostname, { ...options, all: true }, (error, found, family) => {
      if (error) return callback(error, '')
      const all = typeof found === 'string' ? [{ address: found, family: family ?? isIP(found) }] : found
      try {
        for (const { address } of all) see(address)
      } catch (refusal) {
        return callback(refusal as NodeJS.ErrnoException, '')
      }
      const [first] = all
      if (options.all) callback(null, all)
      else callback(null, first?.address ?? '', first?.family)
    })
  }
}
