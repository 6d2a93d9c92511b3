import { test } from 'tap'
import {
  formatAddress,
  formatDuration,
  formatLimit,
  parseAddress,
  parseBytes,
  parseDuration,
  parseInodes,
  parseSpace
} from '../../config/values/units.ts'

test('a duration is the sum of its hours, minutes, seconds and milliseconds', async t => {
  const cases = { '24h': 86_400_000, '1h30m': 5_400_000, '30s': 30_000, '500ms': 500, '1h2m3s4ms': 3_723_004, '90m': 5_400_000, '0s': 0 }
  for (const [text, milliseconds] of Object.entries(cases)) t.equal(parseDuration(text), milliseconds, text)
})

test('what is not whole numbers with units in falling order is no duration', async t => {
  for (const text of ['', '30', '-1s', '1.5h', '30s1h', '1h1h', '1d', ' 1s', '1s\n', '1S', 'h', '9999999999h']) {
    t.equal(parseDuration(text), undefined, JSON.stringify(text))
  }
})

test('a formatted duration is read back as the same milliseconds', async t => {
  for (const milliseconds of [0, 1, 999, 30_000, 5_400_000, 86_400_000, 3_723_004]) {
    t.equal(parseDuration(formatDuration(milliseconds)), milliseconds)
  }
  t.equal(formatDuration(5_400_000), '1h30m')
})

test('a size is bare bytes, a binary or a decimal multiple', async t => {
  const cases = {
    '4194304': 4_194_304,
    '64MiB': 67_108_864,
    '1GiB': 1_073_741_824,
    '10GB': 1e10,
    '1kB': 1000,
    '1KiB': 1024,
    '7B': 7,
    '2TiB': 2 ** 41
  }
  for (const [text, bytes] of Object.entries(cases)) t.equal(parseBytes(text), bytes, text)
  t.equal(parseBytes(1024), 1024)
})

test('what is fractional, negative, without a known unit or too large to be exact is no size', async t => {
  for (const value of [
    '',
    '1.5GiB',
    '-1',
    '1 GiB',
    '1gib',
    '1K',
    '1kiB',
    '9007199254740992',
    '9999999999999TiB',
    1.5,
    -1,
    Number.POSITIVE_INFINITY
  ]) {
    t.equal(parseBytes(value), undefined, String(value))
  }
})

test('an address is an IPv4 host, a bracketed IPv6 host or a name, with a port', async t => {
  t.same(parseAddress('127.0.0.1:5001'), { host: '127.0.0.1', port: 5001 })
  t.same(parseAddress('[::1]:0'), { host: '::1', port: 0 })
  t.same(parseAddress('localhost:65535'), { host: 'localhost', port: 65_535 })
  t.same(parseAddress('node-1.example.org:80'), { host: 'node-1.example.org', port: 80 })
})

test('an address without a host, with a bad host or with a port out of range is none', async t => {
  const wrong = [
    ':5001',
    '5001',
    '127.0.0.1',
    '127.0.0.1:',
    '::1:5001',
    '[::1]',
    '[zz]:1',
    '[127.0.0.1]:1',
    '127.1:80',
    '999.0.0.1:80',
    'a:65536',
    'a:-1',
    '-a:1',
    'a_b:1',
    'a:1/x'
  ]
  for (const text of wrong) t.equal(parseAddress(text), undefined, text)
})

test('a formatted address is read back as the same address', async t => {
  for (const text of ['127.0.0.1:5001', '[::1]:5001', 'localhost:0']) {
    const address = parseAddress(text)
    t.equal(address && formatAddress(address), text)
  }
})

test('space is bytes or a part of the filesystem, inodes are a number or a part of them, and both are written back as they are read', async t => {
  for (const [text, read] of [
    ['10%', { percent: 10 }],
    ['100%', { percent: 100 }],
    ['0%', { percent: 0 }],
    [4096, 4096]
  ] as const) {
    t.same(parseSpace(text), read, String(text))
    t.same(parseInodes(text), read, String(text))
    t.equal(formatLimit(read), text)
  }
  t.equal(parseSpace('20GiB'), 20 * 2 ** 30)
  for (const text of ['101%', '-1%', '1.5%', '%', '10 %', '', '-5']) t.equal(parseSpace(text), undefined, text)
  for (const text of ['101%', '20GiB', '', '-5', '1.5']) t.equal(parseInodes(text), undefined, text)
})
