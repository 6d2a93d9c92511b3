import { Type } from 'typebox'
import { bytes, count, duration, HOUR, MIB, rate, section } from './kinds.ts'

/** The limits of clients. */
export const limitsSection = section(
  'The limits of clients. They measure progress, never the total time of a transfer.',
  {
    manifestBytes: bytes({
      default: 4_194_304,
      atLeast: 1024,
      atMost: 8 * MIB,
      expects: 'a number of bytes such as 4194304 or 4MiB, from 1KiB to 8MiB',
      description:
        'The largest accepted manifest. Manifests are the only content held in memory. The specification requires at least 4 MiB.'
    }),
    strictSizes: Type.Boolean({
      default: false,
      expects: 'true or false',
      description:
        'Refuse a pushed manifest with a descriptor whose size is not that of the content. CNCF Distribution takes such manifests; containerd and others cannot pull them.'
    }),
    uploadIdle: duration({
      default: '24h',
      atLeast: 1000,
      atMost: 9000 * HOUR,
      expects: 'a duration such as 24h or 1h30m, from 1s to 9000h',
      description: 'An upload session that received nothing for so long is removed with its bytes.'
    }),
    minimumRate: section('A slower client is disconnected, so that stalled clients do not use up the connections.', {
      bytes: bytes({ default: 1024, atLeast: 1, description: 'The least number of bytes in each period.' }),
      per: duration({
        default: '30s',
        atLeast: 1000,
        atMost: HOUR,
        expects: 'a duration such as 30s, from 1s to 1h',
        description: 'The period.'
      })
    }),
    connections: count({
      default: 4096,
      maximum: 1_000_000,
      description:
        'The most open connections to a port. With one more, the longest idle one is closed, or the new one refused if all are in use.'
    }),
    uploads: count({
      default: 512,
      maximum: 1_000_000,
      description:
        'The most upload requests at once, and the most manifests being received beside them. An upload holds buffers and a file.'
    }),
    egress: rate('The most bytes per second of blobs to all clients together, in equal shares.'),
    upstream: rate('The most bytes per second of blobs from all upstreams together, in equal shares.')
  },
  { reload: 'restart' }
)
