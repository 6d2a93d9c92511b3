import { test } from 'tap'
import { parseNoProxy } from '../../../src/upstream/connection/no-proxy.ts'

for (const [text, url, direct] of [
  ['*', 'http://any', true],
  ['', 'http://any', false],
  [undefined, 'http://any', false],
  ['example.com', 'http://example.com', true],
  ['example.com', 'http://a.example.com', true],
  ['example.com', 'http://badexample.com', false],
  ['.example.com', 'http://a.example.com', true],
  ['*.example.com', 'http://a.example.com', true],
  ['EXAMPLE.com', 'https://example.COM', true],
  ['example.com:5000', 'https://example.com:5000', true],
  ['example.com:5000', 'https://example.com', false],
  ['example.com:443', 'https://example.com', true],
  ['10.0.0.0/8', 'http://10.1.2.3', true],
  ['10.0.0.0/8', 'http://11.1.2.3', false],
  ['10.0.0.1', 'http://10.0.0.1:80', true],
  ['10.0.0.1', 'http://10.0.0.10', false],
  ['::1', 'http://[::1]', true],
  ['fd00::/8', 'http://[fd12::1]', true],
  ['10.0.0.0/99', 'http://10.0.0.1', false],
  ['a, b,c', 'http://c', true],
  ['a b', 'http://b', true]
] as const) {
  test(`NO_PROXY ${text}: ${url} is asked ${direct ? 'directly' : 'through the proxy'}`, async t => {
    t.equal(parseNoProxy(text)(new URL(url)), direct)
  })
}
