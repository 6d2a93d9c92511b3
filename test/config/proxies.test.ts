import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type Test, test } from 'tap'
import { renderConfig } from '../../config/effective.ts'
import { loadConfig } from '../../config/load.ts'
import { faultsOf, folder, loaded } from './written.ts'

const direct = 'registry: { mode: Direct, direct: {} }'
const inEnvironment = (t: Test, env: Record<string, string>, yaml = direct) => {
  const cwd = folder(t)
  writeFileSync(join(cwd, 'r.yaml'), yaml)
  return loadConfig({ file: 'r.yaml', cwd, env })
}

test('the proxies of the environment are the defaults', async t => {
  const env = { HTTP_PROXY: 'http://a:3128', HTTPS_PROXY: 'https://u:p@b/', NO_PROXY: '.svc,10.0.0.0/8' }
  t.same(inEnvironment(t, env).upstream.proxy, { http: 'http://a:3128', https: 'https://u:p@b', none: '.svc,10.0.0.0/8' })
})

test('the lower-case variables count too and win, and empty ones are unset', async t => {
  t.same(inEnvironment(t, { https_proxy: 'http://a', HTTPS_PROXY: 'http://b' }).upstream.proxy, { https: 'http://a' })
  t.same(inEnvironment(t, { https_proxy: '', HTTPS_PROXY: 'http://b', no_proxy: 'x' }).upstream.proxy, { https: 'http://b', none: 'x' })
})

test('a proxy without a scheme is spoken to by http', async t => {
  t.same(inEnvironment(t, { HTTPS_PROXY: 'proxy:3128' }).upstream.proxy, { https: 'http://proxy:3128' })
})

test('each setting of the file stands before its variable, an empty one too', async t => {
  const env = { HTTP_PROXY: 'http://a', HTTPS_PROXY: 'http://b', NO_PROXY: 'x' }
  t.same(inEnvironment(t, env, `${direct}\nupstream: { proxy: { https: "http://c", http: "" } }`).upstream.proxy, {
    https: 'http://c',
    none: 'x'
  })
  t.equal(inEnvironment(t, env, `${direct}\nupstream: { proxy: { http: "", https: "" } }`).upstream.proxy, undefined)
})

test('without an upstream the environment is not looked at', async t => {
  t.equal(inEnvironment(t, { HTTPS_PROXY: 'socks5://a' }, 'log: { level: info }').upstream.proxy, undefined)
})

test('with a further registry it is, in Local too', async t => {
  t.same(inEnvironment(t, { HTTPS_PROXY: 'http://a' }, 'registry: { upstreams: { quay.io: {} } }').upstream.proxy, { https: 'http://a' })
})

test('a wrong variable is refused by its name, without its password', async t => {
  t.same(
    faultsOf(() => inEnvironment(t, { https_proxy: 'socks5://u:hunter2@a' })),
    [
      {
        file: 'r.yaml',
        line: 0,
        path: 'upstream.proxy.https',
        expected: 'http(s)://[user:password@]host[:port] in HTTPS_PROXY of the environment',
        value: '"***@a"'
      }
    ]
  )
})

test('what is more or less than the URL of a proxy is refused', async t => {
  for (const url of [
    'ftp://a',
    'http://',
    'http://a/path',
    'http://a?q',
    'http://a#f',
    'http://a:0',
    'http://a:99999',
    'http://a b',
    'http:/a',
    'a\\nb'
  ]) {
    t.match(faultsOf(() => loaded(t, `upstream: { proxy: { http: "${url}" } }`))[0], { path: 'upstream.proxy.http' }, url)
  }
})

test('a list of exceptions with control characters is refused', async t => {
  t.match(faultsOf(() => loaded(t, 'upstream: { proxy: { none: "a\\nb" } }'))[0], { path: 'upstream.proxy.none' })
})

test('the URL of a proxy may be in a file', async t => {
  const cwd = folder(t)
  writeFileSync(join(cwd, 'url'), 'http://u:p@a:3128\n')
  writeFileSync(join(cwd, 'r.yaml'), 'upstream: { proxy: { httpsFile: url } }')
  t.same(loadConfig({ file: 'r.yaml', cwd, env: {} }).upstream.proxy, { https: 'http://u:p@a:3128' })
})

test('the effective configuration shows where the proxy is and not its user and password', async t => {
  const text = renderConfig(loaded(t, 'upstream: { proxy: { https: "http://user:hunter2@proxy:3128" } }'))
  t.match(text, 'https: http://***@proxy:3128')
  t.notMatch(text, /user:|hunter2/)
})
