// Report: an error named neither the user nor what to do, and a missing tag was said to need a project.
import { test } from 'tap'
import { adviceOn } from '../../../../src/commands/mirror/advice.ts'
import { UpstreamError, type UpstreamFault } from '../../../../src/upstream/error.ts'

const host = 'registry.test'
const failed = (kind: UpstreamFault, more: { status?: number; code?: string; message?: string } = {}) =>
  new UpstreamError(kind, more.message ?? `${host}: POST /v2/a/blobs/uploads/ answered ${more.status}`, { endpoint: host, ...more })

const cases: [what: string, error: unknown, does: 'push' | 'ask' | 'remove', advice: RegExp][] = [
  [
    'a wrong password',
    failed('unauthorized', { status: 401 }),
    'push',
    /answered 401; registry\.test does not accept the password of user "rw"/
  ],
  ['a missing right', failed('denied', { status: 403 }), 'push', /answered 403; user "rw" lacks the right/],
  ['a read-only registry', failed('invalid', { status: 405 }), 'push', /takes no pushes/],
  ['a registry that removes nothing', failed('invalid', { status: 405 }), 'remove', /removes no tags/],
  ['a full registry', failed('broken', { status: 507 }), 'push', /storage of registry\.test is full/],
  ['a proxy that bounds bodies', failed('invalid', { status: 413 }), 'push', /bounds the size of a request/],
  ['a project that does not exist', failed('not-found', { status: 404 }), 'push', /has to be made at registry\.test first/],
  ['an image that does not exist', failed('not-found', { status: 404 }), 'ask', /answered 404$/],
  ['an unknown authority', failed('unreachable', { code: 'SELF_SIGNED_CERT_IN_CHAIN', message: 'failed' }), 'push', /--tls-ca/],
  ['plain HTTP', failed('broken', { code: 'EPROTO', message: 'failed: wrong version number' }), 'push', /add --insecure/],
  ['another host for tokens', failed('refused', { code: 'REALM', message: 'wants tokens from auth.test' }), 'push', /--other-host/],
  ['anything else', new Error('as it is'), 'push', /^as it is$/]
]
for (const [what, error, does, advice] of cases) {
  test(`mirror: the advice on ${what}`, t => {
    t.match(adviceOn(error, { host, login: 'rw', does }), advice)
    t.end()
  })
}

test('mirror: the advice where credentials are missing', t => {
  t.match(adviceOn(failed('unauthorized', { status: 401 }), { host, does: 'push' }), /give credentials by --login and --password-file/)
  t.end()
})
