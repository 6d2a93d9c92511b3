import { test } from 'tap'
import { parseChallenges } from '../../../src/upstream/auth/challenge.ts'
import { specialRange } from '../../../src/upstream/connection/addresses.ts'
import { nextLink, parseContentRange, retryAfterMs } from '../../../src/upstream/connection/headers.ts'

for (const [field, expected] of [
  ['bytes 0-9/10', { part: { first: 0, last: 9 }, size: 10 }],
  ['bytes 5-9/*', { part: { first: 5, last: 9 } }],
  ['bytes */10', { size: 10 }],
  ['bytes */*', undefined],
  ['bytes 9-5/10', undefined],
  ['bytes 0-10/10', undefined],
  ['bytes 0-9', undefined],
  ['items 0-9/10', undefined],
  ['bytes 0-9999999999999999999/99999999999999999999', undefined],
  ['', undefined]
] as const) {
  test(`Content-Range ${field || 'empty'}`, async t => t.strictSame(parseContentRange(field), expected))
}

const now = Date.parse('Sat, 21 Nov 2026 10:00:00 GMT')
for (const [field, expected] of [
  ['60', 60_000],
  [' 0 ', 0],
  ['Sat, 21 Nov 2026 10:01:00 GMT', 60_000],
  ['Sat, 21 Nov 2026 09:00:00 GMT', 0],
  ['99999999999999999999', 3_600_000],
  ['-5', undefined],
  ['1.5', undefined],
  ['soon', undefined],
  [undefined, undefined]
] as const) {
  test(`Retry-After ${field}`, async t => t.equal(retryAfterMs(field, now), expected))
}

for (const [field, expected] of [
  ['</v2/a/tags/list?last=x>; rel="next"', '/v2/a/tags/list?last=x'],
  ['</a>; rel=next', '/a'],
  ['</a>; rel="prev", </b>; rel="first next"', '/b'],
  ['</a>; title="x, y; rel=z"; rel="next"', '/a'],
  ['</a,b>;rel=NEXT', '/a,b'],
  ['</a>; rel="prev"', undefined],
  ['/a; rel="next"', undefined],
  [['</a>; rel=prev', '</b>; rel=next'], '/b'],
  [undefined, undefined]
] as const) {
  test(`Link ${field}`, async t => t.equal(nextLink(field as string | string[] | undefined), expected))
}

for (const [field, expected] of [
  ['Basic realm="x"', [['basic', { realm: 'x' }]]],
  [
    'Bearer realm="https://a/t",service="s",scope="repository:a:pull,push"',
    [['bearer', { realm: 'https://a/t', service: 's', scope: 'repository:a:pull,push' }]]
  ],
  ['bearer Realm = "a" , scope=b', [['bearer', { realm: 'a', scope: 'b' }]]],
  ['Basic realm="a\\"b"', [['basic', { realm: 'a"b' }]]],
  [
    'Negotiate abc==, Basic realm="x"',
    [
      ['negotiate', {}],
      ['basic', { realm: 'x' }]
    ]
  ],
  ['Bearer realm="a", realm="b"', [['bearer', { realm: 'a' }]]],
  ['Bearer', [['bearer', {}]]],
  ['"', []],
  ['', []]
] as const) {
  test(`WWW-Authenticate ${field}`, async t => {
    const found = parseChallenges(field).map(({ scheme, parameters }) => [scheme, Object.fromEntries(parameters)])
    // Of a token68 nothing is used, so that it does not matter how it is split.
    if (field.startsWith('Negotiate')) t.match(found, expected)
    else t.strictSame(found, expected)
  })
}

for (const [address, expected] of [
  ['127.0.0.1', 'loopback'],
  ['::1', 'loopback'],
  ['::ffff:127.0.0.1', 'loopback'],
  ['::ffff:7f00:1', 'loopback'],
  ['64:ff9b::7f00:1', 'loopback'],
  ['169.254.1.1', 'link-local'],
  ['fe80::1%eth0', 'link-local'],
  ['169.254.169.254', 'metadata'],
  ['::ffff:a9fe:a9fe', 'metadata'],
  ['fd00:ec2::254', 'metadata'],
  ['0.0.0.0', 'unspecified'],
  ['::', 'unspecified'],
  ['224.0.0.1', 'multicast'],
  ['fd20:ce::254', 'metadata'],
  ['100.100.100.200', 'metadata'],
  ['168.63.129.16', 'metadata'],
  ['192.0.0.192', 'metadata'],
  ['64:ff9b::a83f:8110', 'metadata'],
  ['2002:a9fe:a9fe::1', 'metadata'],
  ['10.0.0.1', 'private'],
  ['172.31.255.255', 'private'],
  ['192.168.1.1', 'private'],
  ['100.64.0.1', 'private'],
  ['fd12::1', 'private'],
  ['::ffff:10.0.0.1', 'private'],
  ['64:ff9b::a00:1', 'private'],
  ['2002:c0a8:101::', 'private'],
  ['::10.0.0.1', 'private'],
  ['172.32.0.1', undefined],
  ['8.8.8.8', undefined],
  ['64:ff9b::808:808', undefined],
  ['2001:db8::1', undefined]
] as const) {
  test(`address ${address} is ${expected ?? 'nothing special'}`, async t => t.equal(specialRange(address), expected))
}
