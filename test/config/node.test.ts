// The attack: a wanted state that would be written to the files of a node, as root, with a value that is something else there.
import { test } from 'tap'
import { issueServer, makeAuthority } from '../../src/node/pki/issue.ts'
import { authority, bare, direct, faultsOf, local, now, proxy, unmanaged, wantedOf, worker } from '../src/node/scene.ts'

const day = 86_400_000
const [expired, future] = await Promise.all([makeAuthority('old', now - 4000 * day), makeAuthority('new', now + 10 * day)])
const leaf = await issueServer('leaf', ['localhost'], authority, now)
const other = await makeAuthority('other', now)

const replicas = (...addresses: string[]) => addresses.map((address, index) => ({ name: `m${index + 1}`, address }))

const refused: Record<string, [settings: object, ...faults: RegExp[]]> = {
  'an address that is none': [
    { ...local, node: { ...local.node, address: '10.0.0.256' } },
    /node\.address: expected an IP address/,
    /replicas\[0\]/
  ],
  'a name in place of an address': [
    { ...local, replicas: replicas('10.0.0.1', 'evil.example.org') },
    /replicas\[1\]\.address: expected an IP address/
  ],
  'the loopback address': [
    { ...local, node: { ...local.node, address: '127.0.0.1' }, replicas: replicas('127.0.0.1') },
    /node\.address: expected an IP address by which other nodes/,
    /replicas\[0\]\.address/
  ],
  'a path in the name of a node': [{ ...local, node: { ...local.node, name: '../../etc' } }, /node\.name: expected the name of a node/],
  'two dots in the name of a node': [{ ...local, node: { ...local.node, name: 'a..b' } }, /node\.name/],
  'a path upwards in imagesRepo': [
    { ...proxy, proxy: { imagesRepo: 'registry.example.org/../../etc/cron.d/x' } },
    /proxy\.imagesRepo: expected .* no \. or \.\. in the path/
  ],
  'a port that is none': [{ ...direct, direct: { imagesRepo: 'registry.example.org:99999/x' } }, /direct\.imagesRepo/],
  'a line break in a password': [{ ...local, users: { ro: { password: 'a\nb' } } }, /users\.ro\.password: expected a password/],
  'a line break in the name of a user': [
    { ...local, users: { ...local.users, 'a\nroot:x': { password: 'x' } } },
    /users.*expected the name of a user/
  ],
  'a password of which bcrypt would take only a part': [{ ...local, users: { ro: { password: 'ä'.repeat(40) } } }, /at most 72 bytes/],
  'a bcrypt string that takes days': [
    { ...local, users: { ...local.users, rw: { passwordHash: `$2b$31$${'x'.repeat(53)}` } } },
    /users\.rw\.passwordHash: expected a bcrypt string/
  ],
  'a user without any password': [{ ...local, users: { ...local.users, rw: {} } }, /users\.rw: expected password or passwordHash/],
  'nodes without a password to pull by': [
    { ...local, users: { rw: { password: 'x' } } },
    /users\.ro\.password: expected a password: nodes pull/
  ],
  'a replica twice by name': [
    { ...local, replicas: [...local.replicas, { name: 'm2', address: '10.0.0.7' }] },
    /replicas\[3\]\.name: expected every name at most once/
  ],
  'a replica twice by address': [
    { ...local, replicas: [...local.replicas, { name: 'm4', address: '10.0.0.2' }] },
    /replicas\[3\]\.address: expected every address at most once/
  ],
  'an IPv6 replica twice in two spellings': [
    { ...worker, replicas: replicas('fd00::1', 'fd00:0:0::1') },
    /replicas\[1\]\.address: expected every address at most once/
  ],
  'a control-plane node that is no replica': [
    { ...local, replicas: replicas('10.0.0.2').map(each => ({ ...each, name: 'm2' })) },
    /replicas: expected this node/
  ],
  'a replica with another address than its node': [
    { ...local, replicas: replicas('10.0.0.5') },
    /replicas\[0\]\.address: expected the address of this node/
  ],
  'a worker that is a replica': [
    { ...worker, node: { ...local.node, role: 'worker' } },
    /replicas\[0\]\.name: expected a control-plane node/
  ],
  'no replicas': [{ ...worker, replicas: [] }, /replicas: expected at least one/],
  'a CA that is none': [{ ...worker, pki: { ca: leaf.certificate } }, /pki\.ca: .*is none \(CA:TRUE is missing\)/],
  'text in place of a CA': [{ ...worker, pki: { ca: 'not a certificate' } }, /pki\.ca: expected certificates in PEM/],
  'a private key in place of a CA': [{ ...worker, pki: { ca: authority.key } }, /pki\.ca: expected certificates in PEM/],
  'an expired CA': [{ ...worker, pki: { ca: expired.certificate } }, /pki\.ca: .*expired at 20/],
  'a CA of the future': [{ ...worker, pki: { ca: future.certificate } }, /pki\.ca: .*valid from 20.* on/],
  'two bad CAs, a line each': [
    { ...worker, pki: { ca: expired.certificate + leaf.certificate } },
    /certificate 1 .*expired/,
    /certificate 2 .*is none/
  ],
  'an expired CA of an upstream': [{ ...direct, direct: { ...direct.direct, ca: expired.certificate } }, /direct\.ca: .*expired/],
  'no CA for nodes that cannot make one': [{ ...worker, pki: {} }, /pki\.ca: expected the authority of the replicas/],
  'the key of another CA': [{ ...local, pki: { ca: authority.certificate, caKey: other.key } }, /pki\.caKey: .*it is another/],
  'a CA without its key on a control-plane node': [
    { ...local, pki: { ca: authority.certificate } },
    /pki\.caKey: expected the key of pki\.ca/
  ],
  'no image': [{ ...local, image: undefined }, /image: expected the image of the static pods/],
  'an image with a line break': [{ ...local, image: { reference: 'a\nb' } }, /image\.reference: expected the reference of an image/],
  'a section of another mode': [
    { ...local, proxy: direct.direct },
    /registry: when mode is not 'Proxy', 'proxy' section must be omitted\./
  ],
  'no section of the mode': [{ ...local, mode: 'Direct' }, /registry: when mode is 'Direct', 'direct' section must be specified\./],
  'a license and a user': [
    { ...direct, direct: { ...direct.direct, username: 'u', password: 'p' } },
    /direct: 'license' and 'username'\/'password' are mutually exclusive\./
  ],
  'a user without a password in Unmanaged': [
    { ...unmanaged, unmanaged: { imagesRepo: 'r.example.org', username: 'u' } },
    /unmanaged: 'password' is required when 'username' is provided\./
  ],
  "Deckhouse's containerd in Proxy": [{ ...proxy, rewrite: 'containerd' }, /rewrite: expected mode Direct beside it/],
  'a setting that is not known': [{ ...local, replica: [] }, /replica: expected a known setting \(did you mean replicas\?\)/]
}

for (const [what, [settings, ...faults]] of Object.entries(refused)) {
  test(`wanted state: ${what} is refused with a line for each fault`, async t => {
    const found = faultsOf(settings)
    t.equal(found.length, faults.length, found.join('\n'))
    for (const [index, fault] of faults.entries()) t.match(found[index], fault)
    t.notOk(
      found.some(line => /password-of|license-of|PRIVATE KEY/.test(line)),
      'and no secret in it'
    )
  })
}

test('wanted state: all faults of a file are told at once, each with its line', async t => {
  const text = `node: { name: M1, address: nowhere, role: master }
mode: Cached
users: { ro: { password: "" } }
`
  t.same(
    faultsOf(text).map(line => line.split(' ')[0] + (line.split(' ')[1] ?? '')),
    ['node.yaml:1:node.name:', 'node.yaml:1:node.address:', 'node.yaml:1:node.role:', 'node.yaml:2:mode:', 'node.yaml:3:users.ro.password:']
  )
})

test('wanted state: what is right is taken in every mode and role', async t => {
  for (const settings of [local, proxy, direct, worker, unmanaged, bare]) t.same(faultsOf(settings), [])
  t.same(faultsOf({ ...local, replicas: local.replicas.slice(0, 1), pki: {} }), [], 'the only replica makes an authority itself')
  t.equal(wantedOf({ ...local, image: { ...local.image, archive: 'image.tar' } }).image?.archive, '/etc/image.tar')
  t.equal(Object.getPrototypeOf(wantedOf(local).users), null)
})
