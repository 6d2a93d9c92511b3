import { Type } from 'typebox'
import { age, duration, HOUR, names, oneOf, path, section } from './kinds.ts'

/** How long answers of an upstream are valid. */
export const cacheSection = section('How long answers of an upstream are valid. Content requested by digest is valid forever.', {
  tagTTL: duration({
    default: '1m',
    atMost: 9000 * HOUR,
    reload: 'backends',
    description: 'How long a cached tag is served without asking the upstream.'
  }),
  onUpstreamNotFound: oneOf(['serve', 'forget'], {
    default: 'serve',
    reload: 'backends',
    description: 'What happens to a cached tag that the upstream no longer has: serve the last known manifest, or forget the tag.'
  }),
  negativeTTL: duration({
    default: '10s',
    atMost: HOUR,
    reload: 'backends',
    description: 'How long "not found" of an upstream is remembered.'
  }),
  metadataTTL: duration({
    default: '5s',
    atMost: HOUR,
    reload: 'restart',
    description:
      'How long changes that another registry made in a shared bucket may go unnoticed. A directory has one registry, which notices everything at once.'
  }),
  pin: names(
    { pattern: '^[A-Za-z0-9._:@/*-]{1,512}$', expects: 'a pattern such as docker.io/library/*, system/deckhouse:v1.* or **@sha256:0123*' },
    {
      default: [],
      reload: 'live',
      description:
        'Content that is never evicted from the cache: patterns of <name>, <name>:<tag> or <name>@<digest>, where * matches within a component and ** anything.'
    }
  ),
  pinFile: Type.Optional(
    path({
      reload: 'live',
      description: 'A file with further patterns of pinned content, one per line. It is read again each time it is needed.'
    })
  )
})

/** What is removed in the background. */
export const gcSection = section(
  'Garbage collection: the removal of content that nothing references.',
  {
    untagged: age({
      default: 'keep',
      description:
        'When a pushed manifest is removed that no tag names, no kept index lists, and that has no kept subject: never, or after so long. A platform pulls by digest.'
    }),
    grace: duration({
      default: '1h',
      atMost: 9000 * HOUR,
      description: 'Younger content is kept even if nothing references it: a push takes time from its first blob to its manifest.'
    }),
    every: duration({
      default: '24h',
      atLeast: 1000,
      atMost: 9000 * HOUR,
      expects: 'a duration such as 24h, from 1s to 9000h',
      description: 'The interval of garbage collection and of cache expiry, give or take a tenth.'
    })
  },
  { reload: 'live' }
)

/** The verification of stored content. */
export const scrubSection = section(
  'The scrub: blobs are read and their digests compared, slowly and in the background.',
  {
    every: duration({
      default: '720h',
      atLeast: 1000,
      atMost: 9000 * HOUR,
      expects: 'a duration such as 720h, from 1s to 9000h',
      description:
        'Everything is read once in this time, at 1MiB to 64MiB per second. A small storage is done sooner, and rests until the time is over.'
    })
  },
  { reload: 'live' }
)
