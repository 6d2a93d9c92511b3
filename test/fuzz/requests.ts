import type { Arbitrary } from 'fast-check'
import {
  array,
  base64String,
  boolean,
  constant,
  constantFrom,
  integer,
  nat,
  oneof,
  record,
  string,
  tuple,
  uint8Array,
  uuid
} from 'fast-check'
import type { FuzzRequest } from './message.ts'

/** Content that is there, so that reading can succeed. */
export interface Known {
  name: string
  digests: readonly string[]
  tags: readonly string[]
}

/** Where writing may succeed. */
export const scratch = 'fuzz/scratch'

const evil = constantFrom(
  ...[
    '..',
    '.',
    '...',
    '%2e%2e',
    '%2E%2E%2F',
    '..%2f..%2f..%2f..',
    '%2e%2e%2f'.repeat(12),
    '%252e%252e%252f',
    '%00',
    'a%00b',
    '%0d%0a',
    '%ff',
    '%c0%ae'
  ],
  ...[
    '%',
    '%zz',
    '%2',
    '_uploads',
    '_layers',
    '_manifests',
    '_catalog',
    '_referrers',
    'UPPER',
    '-a',
    'a-',
    'a__b',
    'a___b',
    'a..b',
    '.a',
    '\\..\\',
    '~',
    ''
  ],
  ...[
    'blobs',
    'uploads',
    'manifests',
    'tags',
    'list',
    'referrers',
    'v2',
    'link',
    'data',
    'current',
    ';',
    ':',
    '@',
    '*',
    '__proto__',
    'constructor'
  ],
  ...['x'.repeat(255), 'x'.repeat(256), 'x'.repeat(10_240), 'a/'.repeat(5000), `${'a-'.repeat(120)}!`]
)
// Everything that may stand in a request's first line.
const visible = string({ unit: integer({ min: 0x21, max: 0x7e }).map(code => String.fromCharCode(code)), maxLength: 40 })
const component = oneof(
  { weight: 4, arbitrary: evil },
  { weight: 2, arbitrary: visible },
  { weight: 2, arbitrary: constantFrom('a', 'b1', 'c.d', 'e_f', 'g--h') }
)

const text = oneof(
  visible,
  evil,
  constantFrom('', '0', '-1', '1', '10', '1e3', '99999999999999999999', 'NaN', 'null', 'sha256', 'sha512', 'sha256:', 'md5:00')
)

function digests({ digests }: Known): Arbitrary<string> {
  const hex = (length: number) =>
    array(constantFrom(...'0123456789abcdef'), { minLength: length, maxLength: length }).map(each => each.join(''))
  return oneof(
    constantFrom(...digests),
    hex(64).map(each => `sha256:${each}`),
    hex(128).map(each => `sha512:${each}`),
    hex(63).map(each => `sha256:${each}`),
    text
  )
}

function targets(known: Known, names: Arbitrary<string>): Arbitrary<string> {
  const digest = digests(known)
  const reference = oneof(constantFrom(...known.tags), digest, component)
  const end = oneof(
    digest.map(each => `blobs/${each}`),
    reference.map(each => `manifests/${each}`),
    digest.map(each => `referrers/${each}`),
    oneof(uuid(), component).map(each => `blobs/uploads/${each}`),
    constantFrom('tags/list', 'blobs/uploads/', 'blobs/uploads', '_oci/ext/discover', 'tags', 'tags/list/', 'blobs/', 'manifests/')
  )
  const free = tuple(constantFrom('/v2/', '/', '/v1/', '//', '/v2//', '/V2/', '/v2/../'), array(component, { maxLength: 6 })).map(
    ([start, parts]) => start + parts.join('/')
  )
  const fixed = constantFrom('/', '/v2', '/v2/', '/v2/_catalog', '/v2/_oci/ext/discover', '*', '/livez', '/metrics', 'http://other/v2/')
  return oneof({ weight: 6, arbitrary: tuple(names, end).map(parts => `/v2/${parts.join('/')}`) }, { weight: 2, arbitrary: free }, fixed)
}

function queries(known: Known): Arbitrary<string> {
  const value = oneof(digests(known), text, nat().map(String), constantFrom(known.name, ...known.tags, 'registry.d8-system.svc:5001'))
  const key = constantFrom('n', 'last', 'digest', 'mount', 'from', 'tag', 'ns', 'artifactType', 'digest-algorithm', '_', '__proto__', '')
  const pair = tuple(key, value, boolean()).map(
    ([name, each, encoded]) => `${name}=${encoded ? encodeURIComponent(each) : each.replace(/[#]/g, '')}`
  )
  return oneof(
    { weight: 2, arbitrary: constant('') },
    array(pair, { maxLength: 5 }).map(pairs => `?${pairs.join('&')}`)
  )
}

/** Ranges of every kind, sound and not. */
export const rangeField: Arbitrary<string> = oneof(
  tuple(nat(300_000), nat(300_000)).map(([first, last]) => `bytes=${first}-${last}`),
  nat(300_000).map(first => `bytes=${first}-`),
  nat(300_000).map(suffix => `bytes=-${suffix}`),
  array(
    tuple(nat(1000), nat(1000)).map(pair => pair.join('-')),
    { maxLength: 12 }
  ).map(all => `bytes=${all.join(',')}`),
  constantFrom(
    'bytes=-0',
    'bytes=500-0',
    'bytes=5000-10000',
    'bytes=-',
    'bytes=',
    'bytes',
    'items=0-1',
    'BYTES=0-0',
    'bytes= 0-5',
    'bytes=0-99999999999999999999'
  ),
  text
)

function headers(known: Known): Arbitrary<[string, string][]> {
  const tag = oneof(
    digests(known).map(each => `"${each}"`),
    digests(known).map(each => `W/"${each}"`),
    constant('*'),
    text
  )
  const fields = record(
    {
      range: rangeField,
      'if-range': tag,
      'if-none-match': array(tag, { maxLength: 3 }).map(all => all.join(', ')),
      'content-range': oneof(
        rangeField,
        tuple(nat(5000), nat(5000)).map(pair => pair.join('-'))
      ),
      'content-type': oneof(
        text,
        constantFrom('application/vnd.oci.image.manifest.v1+json', 'application/json; charset=utf-8', 'text/html')
      ),
      authorization: oneof(
        base64String().map(each => `Basic ${each}`),
        text.map(each => `Bearer ${each}`),
        text
      ),
      expect: oneof({ weight: 3, arbitrary: constant('100-continue') }, text),
      accept: text,
      'accept-encoding': constantFrom('gzip', 'identity;q=0', '*'),
      'x-request-id': text,
      'x-forwarded-for': text,
      'user-agent': text,
      cookie: text
    },
    { requiredKeys: [] }
  )
  return fields.map(each => Object.entries(each).filter((entry): entry is [string, string] => entry[1] !== undefined))
}

/** Requests that are HTTP, whatever else they are. Only reads meet the known content. */
export function requests(known: Known): Arbitrary<FuzzRequest> {
  const others = component.map(each => `fuzz/${each}`)
  const rest = {
    headers: headers(known),
    body: uint8Array({ maxLength: 200 }),
    framing: constantFrom('length' as const, 'chunked' as const)
  }
  const target = (names: Arbitrary<string>) => tuple(targets(known, names), queries(known)).map(([path, query]) => path + query)
  const reads = record({ method: constantFrom('GET', 'GET', 'GET', 'HEAD'), target: target(oneof(constant(known.name), others)), ...rest })
  const methods = constantFrom(
    'PUT',
    'POST',
    'PATCH',
    'DELETE',
    'POST',
    'PUT',
    'OPTIONS',
    'TRACE',
    'PROPFIND',
    'MKCOL',
    'LOCK',
    'SEARCH',
    'PURGE',
    'QUERY'
  )
  const writes = record({ method: methods, target: target(oneof(constant(scratch), others)), ...rest })
  return oneof({ weight: 3, arbitrary: reads.map(each => ({ ...each, body: new Uint8Array() })) }, { weight: 2, arbitrary: writes })
}
