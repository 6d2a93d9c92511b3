import { BlockList, isIP, type LookupFunction } from 'node:net'

/** Kinds of addresses that an upstream must not send us to, unless it is there itself. */
export type SpecialRange = 'loopback' | 'link-local' | 'metadata' | 'unspecified' | 'multicast'

// Some clouds keep their metadata service outside of the link-local networks.
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

/** Which special place an address is; addresses of IPv4 inside IPv6 count as what they hold. */
export function specialRange(address: string): SpecialRange | undefined {
  const plain = address.replace(/%.*$/, '')
  return lists.find(({ list }) => list.check(plain, familyOf(plain)))?.range
}

/** The address in a URL's `hostname`; undefined if a name stands there. */
export function literalAddress(hostname: string): string | undefined {
  const bare = hostname.startsWith('[') ? hostname.slice(1, -1) : hostname
  return isIP(bare) === 0 ? undefined : bare
}

/** A lookup that reports every address found before it is connected to; what `see` throws is the outcome of the lookup. */
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
