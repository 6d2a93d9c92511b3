// The attack: a registry names as its token realm another service of its host or of its domain, whose answer has an `access_token`
// (a metadata service, a secrets store). It is sent our credentials, and the registry is sent that service's token.
import { test } from 'tap'
import { checkRealm } from '../../../src/upstream/auth/realm.ts'

const allowed: [endpoint: string, realm: string][] = [
  ['https://registry.example.com', 'https://registry.example.com/token'],
  ['https://registry.example.com', 'https://registry.example.com:443/token'],
  ['http://10.0.0.1:5000', 'http://10.0.0.1:5000/token'],
  ['https://registry-1.docker.io', 'https://auth.docker.io/token'],
  ['https://registry.gitlab.com', 'https://gitlab.com/jwt/auth'],
  ['https://a.test', 'https://listed.example:8443/token'],
  ['https://a.test', 'https://standard.example/token'],
  ['https://a.test', 'https://listed.example/token'],
  ['https://a.test', 'https://ports.example:8443/token']
]

const refused: [endpoint: string, realm: string | undefined][] = [
  ['https://registry.example.com:5000', 'https://registry.example.com:5001/auth'],
  ['https://registry.example.com', 'https://auth.example.com/token'],
  ['http://10.0.0.1:5000', 'http://10.0.0.1:5001/token'],
  ['http://127.0.0.1:5000', 'http://127.0.0.1:8001/computeMetadata/token'],
  ['http://registry-1.docker.io', 'http://auth.docker.io/token'],
  ['https://registry-1.docker.io', 'https://auth.docker.io:8443/token'],
  ['https://registry.example.com', 'https://auth.docker.io/token'],
  ['https://registry.example.com', 'https://evil.com/token'],
  ['https://registry.example.com', 'http://registry.example.com/token'],
  ['https://registry.example.com', 'https://user:secret@registry.example.com/token'],
  ['https://registry.example.com', 'https://registry.example.com.evil.com/token'],
  ['https://registry.co.uk', 'https://evil.co.uk/token'],
  ['https://one.github.io', 'https://two.github.io/token'],
  ['https://one.s3.amazonaws.com', 'https://two.s3.amazonaws.com/token'],
  ['http://10.0.0.1', 'http://10.0.0.2/token'],
  ['http://registry', 'http://other/token'],
  ['http://a.local', 'file:///etc/passwd'],
  ['http://a.local', '/token'],
  ['http://a.local', ''],
  ['http://a.local', undefined],
  ['https://a.test', 'https://ports.example/token']
]

for (const [endpoint, realm] of allowed) {
  test(`realm: ${endpoint} may send to ${realm}`, async t => {
    t.equal(
      checkRealm(realm, new URL(endpoint), ['listed.example', 'ports.example:8443', 'standard.example:443']).href,
      new URL(realm).href
    )
  })
}

for (const [endpoint, realm] of refused) {
  test(`realm: ${endpoint} may not send to ${realm}`, async t => {
    t.throws(() => checkRealm(realm, new URL(endpoint), ['ports.example:8443']), { name: 'UpstreamError', code: 'REALM' })
  })
}
