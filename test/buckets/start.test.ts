import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { type Test, test } from 'tap'
import { stringify } from 'yaml'
import { createSemaphore } from '../../storage/semaphore.ts'
import { certificate } from '../support/certificate.ts'
import { temporaryDirectory } from '../support/place.ts'
import { program } from '../support/program.ts'
import { type Fate, proxyS3 } from '../support/s3-proxy.ts'
import { asUser, bucketFor, credentialsFile, makeBucket, ownerOf, type S3Server, s3Settings, startS3 } from '../support/s3-server.ts'

/** Runs `registry serve` with this section `storage.s3`, and waits for its end. */
async function start(t: Test, s3: Record<string, unknown>): Promise<{ code: number; said: string }> {
  const folder = await temporaryDirectory(t)
  const file = join(folder, 'registry.yaml')
  await writeFile(
    file,
    stringify({ server: { listen: '127.0.0.1:0', admin: '127.0.0.1:0' }, storage: { s3: { ...s3, spool: join(folder, 'spool') } } })
  )
  const child = spawn(process.execPath, [...program, 'serve', '--config', file], {
    stdio: ['ignore', 'ignore', 'pipe'],
    env: { ...process.env, NODE_OPTIONS: '' }
  })
  t.teardown(() => child.kill('SIGKILL'))
  const [said, [code]] = await Promise.all([text(child.stderr), once(child, 'close')])
  return { code, said }
}

async function tokenFile(t: Test, { credentials }: S3Server): Promise<string> {
  const file = join(await temporaryDirectory(t), 'credentials')
  await writeFile(file, credentialsFile(credentials, 'unknown'))
  return file
}

test('S3: a start that needs a correction ends with exit code 2 and one line that says which', async t => {
  const server = await startS3(t)
  if (!server) return
  const settings = s3Settings(server, makeBucket(server), '')
  const refused = async (code: string) => {
    const proxy = await proxyS3(t, server)
    proxy.fate = (): Fate => ({ status: 403, code })
    return { ...settings, endpoint: proxy.endpoint }
  }
  const { accessKeyId } = server.credentials
  const secure = await startS3(t, { tls: certificate(t) })
  const trusted = secure ? s3Settings(secure, makeBucket(secure), '') : {}
  const { ca: _, ...untrusted } = trusted
  const elsewhere = { ...trusted, endpoint: secure?.endpoint.replace('127.0.0.1', 'localhost') }
  const cases: StartCase[] = [
    ['a bucket that is not there', { ...settings, bucket: 'no-such-bucket' }, /no-such-bucket.*create it, or correct storage\.s3\.bucket/],
    ['a region that is not the one of the service', { ...settings, region: 'eu-north-1' }, /correct storage\.s3\.region/],
    ['a wrong key', { ...settings, credentials: { accessKeyId, secretAccessKey: 'wrong' } }, /the secret key is wrong/],
    ['an unknown key', { ...settings, credentials: { accessKeyId: 'unknown', secretAccessKey: 'x' } }, /correct storage\.s3\.credentials/],
    ['an unknown token', { ...settings, credentials: { file: await tokenFile(t, server) } }, /the session token: correct/],
    ['an authority that is unknown', untrusted, /certificate is not trusted: set storage\.s3\.ca/],
    ['another authority', { ...untrusted, ca: certificate(t).cert }, /certificate is not trusted: set storage\.s3\.ca/],
    ['a certificate for another name', elsewhere, /for another name than that of storage\.s3\.endpoint/],
    ['a clock that differs', await refused('RequestTimeTooSkewed'), /clock differs/]
  ]
  if (server.hasUsers) cases.push(...(await lackingPermissions(t, server)))
  else t.pass('without a permission', { skip: 'permissions of users: needs versitygw' })
  const limit = createSemaphore(3)
  await Promise.all(cases.map(each => limit(() => refuses(t, each))))
})

/** A case, the section `storage.s3`, and what the start says of it. */
type StartCase = [what: string, s3: Record<string, unknown>, says: RegExp]

async function refuses(t: Test, [what, s3, says]: StartCase): Promise<void> {
  const { code, said } = await start(t, s3)
  t.equal(code, 2, what)
  t.match(said, says, what)
  t.equal(said.trimEnd().split('\n').length, 1, `${what}: one line`)
}

async function lackingPermissions(t: Test, server: S3Server): Promise<StartCase[]> {
  const [owner, user] = [ownerOf(t, server), await asUser(server)]
  const actions = { list: 'ListBucket', read: 'GetObject', write: 'PutObject', remove: 'DeleteObject' }
  return Promise.all(
    Object.entries(actions).map(async ([verb, action]): Promise<StartCase> => {
      const settings = s3Settings(user, await bucketFor(owner, user, action), '')
      return [`no permission to ${verb}`, settings, /lack a permission.*docs\/s3\.md/]
    })
  )
}
