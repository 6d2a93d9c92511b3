import { join } from 'node:path'
import { test } from 'tap'
import { run } from './command.ts'
import { users } from './htpasswd.ts'
import { makeSample } from './image.ts'
import { makePki } from './pki.ts'
import { temporaryFolder } from './place.ts'
import { freshRegistry, target } from './registry.ts'
import { skopeo } from './skopeo.ts'
import { hasTools } from './tool.ts'

const rw = `rw:${users.rw.password}`
const ro = `ro:${users.ro.password}`

test('skopeo over TLS with Basic auth: one user pushes, the other may only pull', async t => {
  if (!hasTools(t, 'skopeo', 'openssl')) return
  const folder = await temporaryFolder(t)
  const pki = await makePki(folder)
  const { layout, image } = await makeSample(join(folder, 'made'))
  const registry = await freshRegistry(t, { pki, users })
  const reference = `docker://${registry.address}/system/deckhouse:v1`
  // The only trust is SSL_CERT_FILE: a push that works also proves the certificate.
  const env = { SSL_CERT_FILE: pki.ca, REGISTRY_AUTH_FILE: '/nonexistent/auth.json' }
  await skopeo(['copy', '--dest-creds', rw, `oci:${layout.folder}:image`, reference], { env })
  const inspected: unknown = JSON.parse(await skopeo(['inspect', '--creds', ro, reference], { env }))
  t.match(inspected, { Digest: image.digest })

  const copyOver = (creds: string) => ['--insecure-policy', 'copy', '--dest-creds', creds, `oci:${layout.folder}:image`, `${reference}-2`]
  const wrong = await run('skopeo', copyOver('rw:other'), { env })
  t.not(wrong.code, 0, 'a wrong password is refused')
  t.match(wrong.stderr, /unauthorized|authentication required/)
  // docker-registry knows no rights: whoever has a password may push.
  if (target === 'product') t.not((await run('skopeo', copyOver(ro), { env })).code, 0, 'who may pull may not push')
  const bare = await run('skopeo', ['--insecure-policy', 'inspect', '--no-creds', reference], { env })
  t.not(bare.code, 0, 'without credentials nothing is readable')
})
