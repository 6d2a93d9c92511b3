// The program as one file, for a machine that has neither Node nor a network.
import { copyFile, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { hash } from '@node-rs/bcrypt'
import tap, { test } from 'tap'
import { stringify } from 'yaml'
import { writeBundle } from '../../build/bundle/bundle.ts'
import { nativeBinding, writeExecutable } from '../../build/executable/executable.ts'
import { librariesOf } from '../../build/image/runtime.ts'
import pkg from '../../package.json' with { type: 'json' }
import { tokenKey } from '../support/tokens.ts'
import { must } from './command.ts'
import { startDaemon } from './daemon.ts'
import { freePort } from './place.ts'
import { ask } from './request.ts'
import { isRoot } from './tool.ts'

const work = await mkdtemp(join(tmpdir(), 'registry-executable-'))
tap.teardown(() => rm(work, { recursive: true, force: true }))
const bundle = join(work, 'bundle.tar.gz')
await writeBundle(bundle, join(work, 'one'), { modified: new Date('2026-01-02T03:04:05Z') })
const executable = join(work, 'one/registry')

test('executable: two builds are the same bytes', async t => {
  const again = join(work, 'two/registry')
  await writeExecutable(again, join(work, 'two/scratch'))
  t.equal(Buffer.compare(await readFile(executable), await readFile(again)), 0)
})

test('executable: the bundle unpacks to what its checksums say, and runs from there', async t => {
  await must('tar', ['-xzf', bundle, '-C', work])
  const unpacked = join(work, 'registry')
  t.match(
    await must('sha256sum', ['--check', 'SHA256SUMS'], { cwd: unpacked }),
    /LICENSE: OK\n(?:.*: OK\n)*image\.tar: OK\nregistry: OK\nregistry-.*\.tgz: OK/
  )
  t.equal((await must(join(unpacked, 'registry'), ['--version'])).trim(), pkg.version)
})

test('executable: it serves from a root with nothing but the shared libraries, checks passwords and issues tokens', async t => {
  if (!isRoot(t)) return
  const root = join(work, 'root')
  const libraries = await Promise.all([executable, nativeBinding('@node-rs/bcrypt')].map(librariesOf))
  for (const library of new Set(libraries.flat())) {
    await mkdir(join(root, dirname(library)), { recursive: true })
    await copyFile(library, join(root, library))
  }
  await copyFile(executable, join(root, 'registry'))
  await writeFile(join(root, 'htpasswd'), `user:${await hash('right', 4)}\n`)
  await writeFile(join(root, 'token.pem'), tokenKey().pem, { mode: 0o600 })
  const address = `127.0.0.1:${await freePort()}`
  const settings = {
    server: { listen: address, admin: '127.0.0.1:0' },
    storage: { filesystem: { root: '/data' }, reserve: 0, inodeReserve: 0 },
    auth: { users: { file: '/htpasswd', roles: { user: ['pull', 'push'] } }, tokens: { keys: ['/token.pem'] } }
  }
  await writeFile(join(root, 'registry.yaml'), stringify(settings))
  const daemon = await startDaemon({
    command: 'env',
    args: ['-i', '/usr/sbin/chroot', root, '/registry', 'serve', '--config', '/registry.yaml'],
    probe: async () => void (await ask({ address }, { path: '/' }))
  })
  t.teardown(() => daemon.stop())
  const login = async (password: string, path = '/v2/') => {
    const authorization = `Basic ${Buffer.from(`user:${password}`).toString('base64')}`
    return (await ask({ address }, { path, headers: { authorization } })).status
  }
  t.equal(await login('right'), 200)
  t.equal(await login('right', '/v2/token?service=registry'), 200, 'what is loaded for tokens alone is there too')
  t.equal(await login('wrong'), 401)
  const environment = await readFile(`/proc/${daemon.pid}/environ`, 'latin1')
  t.match(environment, /MALLOC_ARENA_MAX=1/, 'the C library has the settings of the image')
  t.equal(await daemon.stop(), 0)
})
