import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { accessSync, constants, mkdirSync, writeFileSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { connect, createServer } from 'node:net'
import { homedir } from 'node:os'
import { delimiter, join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as delay } from 'node:timers/promises'
import { promisify } from 'node:util'
import { CreateBucketCommand, ListMultipartUploadsCommand, PutBucketPolicyCommand, S3Client } from '@aws-sdk/client-s3'
import type { Test } from 'tap'
import { HttpClient } from '../../src/http/client.ts'
import { type S3Options, S3Storage } from '../../storage/s3/s3.ts'
import { type Ending, temporaryDirectory } from './place.ts'
import { startFake } from './s3-fake.ts'

/** A running S3 service with nothing in it. */
export interface S3Server {
  endpoint: string
  /** A directory in which each bucket is a directory. */
  root: string
  /** The owner's; changes apply from the next start on. */
  credentials: { accessKeyId: string; secretAccessKey: string }
  /** The authority of its certificate, if it has one. */
  ca?: string | undefined
  /** Whether it has users with permissions of their own; the fake has its owner only. */
  hasUsers: boolean
  /** Ends it as if it had crashed. */
  kill(): Promise<void>
  /** Starts it again at the same address with its content. */
  start(): Promise<void>
}

// As in test/tools/build.
const version = 'v1.8.0'
const credentials = { accessKeyId: 'registry', secretAccessKey: 'registry-secret' }

/** What a service has to be. */
export interface ServiceOptions {
  /** A key and its certificate, which signed itself: it is served over TLS. */
  tls?: Record<'key' | 'cert', string> | undefined
  /** Why the fake does not do. */
  real?: string | undefined
}

/**
 * An S3 service on loopback: versitygw where it was built (`test/tools/build versitygw`), else the fake, which
 * `REGISTRY_TEST_S3=fake` forces. Undefined, with the test skipped and the reason given, where the fake does not do.
 */
export async function startS3(
  t: Ending & { pass(text: string, why: { skip: string }): unknown },
  options: ServiceOptions = {}
): Promise<S3Server | undefined> {
  const server = await launchS3(await temporaryDirectory(t), options)
  if (server) t.teardown(() => server.kill())
  else t.pass('S3', { skip: `${options.real}: needs versitygw (test/tools/build versitygw makes it where Go is present)` })
  return server
}

/** The same, with everything in a folder; the caller kills it. */
export async function launchS3(folder: string, { tls, real }: ServiceOptions = {}): Promise<S3Server | undefined> {
  const program = process.env['REGISTRY_TEST_S3'] === 'fake' ? undefined : await find()
  if (program !== undefined) return launchGateway(program, folder, tls)
  return real === undefined ? startFake(folder, { credentials, tls }) : undefined
}

async function launchGateway(program: string, folder: string, pair: ServiceOptions['tls']): Promise<S3Server> {
  const [root, about, iam] = [join(folder, 'buckets'), join(folder, 'about'), join(folder, 'users')]
  for (const each of [root, about, iam]) mkdirSync(each)
  const port = await freePort()
  const endpoint = `${pair ? 'https' : 'http'}://127.0.0.1:${port}`
  const tls = Object.entries(pair ?? {}).flatMap(([name, pem]) => {
    const file = join(folder, `tls.${name}`)
    writeFileSync(file, pem)
    return [`--${name}`, file]
  })
  let stop = async () => {}
  const start = async () => {
    const users = ['--iam-dir', iam, '--iam-cache-disable']
    const child = spawn(
      program,
      ['--port', `127.0.0.1:${port}`, '--quiet', '--keep-alive', ...users, ...tls, 'posix', '--sidecar', about, root],
      {
        stdio: ['ignore', 'pipe', 'pipe'],
        env: { ROOT_ACCESS_KEY_ID: server.credentials.accessKeyId, ROOT_SECRET_ACCESS_KEY: server.credentials.secretAccessKey }
      }
    )
    const ended = once(child, 'close')
    const output: string[] = []
    for (const stream of [child.stdout, child.stderr]) createInterface(stream).on('line', line => void output.push(line))
    // Also when the test file is aborted.
    const reap = () => child.kill('SIGKILL')
    process.once('exit', reap)
    stop = async () => {
      process.removeListener('exit', reap)
      child.kill('SIGKILL')
      await ended
    }
    while (!(await listens(port))) {
      if (child.exitCode !== null) throw new Error(`versitygw ended with ${child.exitCode}: ${output.join('\n')}`)
      await delay(20)
    }
  }
  const server: S3Server = { endpoint, root, credentials, ca: pair?.cert, hasUsers: true, kill: () => stop(), start }
  await start()
  return server
}

async function find(): Promise<string | undefined> {
  const cache = join(process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'), 'registry-test-tools', `versitygw-${version}`)
  for (const folder of [cache, ...(process.env['PATH'] ?? '').split(delimiter)]) {
    const path = join(folder, 'versitygw')
    if (isExecutable(path)) return path
  }
  return undefined
}

async function listens(port: number): Promise<boolean> {
  const socket = connect(port, '127.0.0.1')
  return once(socket, 'connect')
    .then(
      () => true,
      () => false
    )
    .finally(() => socket.destroy())
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  server.close()
  await once(server, 'close')
  if (address === null || typeof address === 'string') throw new Error('no port')
  return address.port
}

/** The section `storage.s3` of a configuration for a bucket of the server, with its spool in a folder. */
export function s3Settings({ endpoint, credentials, ca }: S3Server, bucket: string, spool: string): Record<string, unknown> {
  return {
    bucket,
    endpoint,
    forcePathStyle: true,
    credentials,
    spool,
    spoolBytes: '256MiB',
    partBytes: '5MiB',
    ...(ca === undefined ? {} : { ca })
  }
}

/** A file of credentials in AWS's shared format. */
export function credentialsFile({ accessKeyId, secretAccessKey }: S3Server['credentials'], token?: string): string {
  const lines = [`aws_access_key_id = ${accessKeyId}`, `aws_secret_access_key = ${secretAccessKey}`]
  return ['[default]', ...lines, ...(token === undefined ? [] : [`aws_session_token = ${token}`]), ''].join('\n')
}

let buckets = 0

const newName = () => `bucket-${process.pid}-${++buckets}`

/** The name of a new, empty bucket. */
export function makeBucket({ root }: S3Server): string {
  const name = newName()
  mkdirSync(join(root, name))
  return name
}

/** An S3 client with the owner's credentials, closed when the test ends. */
export function ownerOf(t: Ending, { endpoint, credentials }: S3Server): S3Client {
  const client = new S3Client({ endpoint, credentials: { ...credentials }, region: 'us-east-1', forcePathStyle: true })
  t.teardown(() => client.destroy())
  return client
}

/** The server with a new user's credentials, who has no permission yet; with its owner's where it has no users. */
export async function asUser(server: S3Server): Promise<S3Server> {
  if (!server.hasUsers) return server
  const program = (await find()) ?? ''
  const { accessKeyId, secretAccessKey } = server.credentials
  const credentials = { accessKeyId: `user-${++users}`, secretAccessKey: 'user-secret' }
  const owner = ['--access', accessKeyId, '--secret', secretAccessKey, '--endpoint-url', server.endpoint]
  const user = ['--access', credentials.accessKeyId, '--secret', credentials.secretAccessKey, '--role', 'user']
  await promisify(execFile)(program, ['admin', ...owner, 'create-user', ...user])
  return { ...server, credentials }
}

/** The name of a new bucket in which a user has the permissions of docs/s3.md, but for one action. */
export async function bucketFor(owner: S3Client, user: S3Server, without?: string): Promise<string> {
  if (!user.hasUsers) return makeBucket(user)
  const bucket = newName()
  // A bucket that was made as a directory has no owner, and versitygw refuses copies in it.
  await owner.send(new CreateBucketCommand({ Bucket: bucket }))
  await allow(owner, user, bucket, without)
  return bucket
}

/** Gives a user the permissions of docs/s3.md in a bucket, but for one action, from now on. */
export async function allow(owner: S3Client, { credentials }: S3Server, Bucket: string, without?: string): Promise<void> {
  const page = await readFile(join(import.meta.dirname, '../../docs/s3.md'), 'utf8')
  const [, json = ''] = /```json\n(.*?)```/s.exec(page) ?? []
  const { Statement, ...policy } = JSON.parse(json.replaceAll('BUCKET', Bucket)) as { Statement: { Action: string[] }[] }
  const allowed = Statement.map(each => ({
    ...each,
    Principal: { AWS: [credentials.accessKeyId] },
    Action: each.Action.filter(action => action !== `s3:${without}`)
  }))
  await owner.send(new PutBucketPolicyCommand({ Bucket, Policy: JSON.stringify({ ...policy, Statement: allowed }) }))
}

let users = 0

/** The keys of multipart uploads in a bucket that were neither completed nor aborted. */
export async function multipartUploads(owner: S3Client, bucket: string): Promise<(string | undefined)[]> {
  const { Uploads = [] } = await owner.send(new ListMultipartUploadsCommand({ Bucket: bucket }))
  return Uploads.map(each => each.Key)
}

/** The HTTP client that the registry gives to the storage of a bucket. */
export const createBodyClient: S3Options['createBodyClient'] = timeouts => new HttpClient(timeouts)

/** Options of a storage in a bucket of the server. */
export async function s3Options(t: Test, server: S3Server, more: Partial<S3Options> = {}): Promise<S3Options> {
  return {
    bucket: more.bucket ?? makeBucket(server),
    region: 'us-east-1',
    endpoint: server.endpoint,
    forcePathStyle: true,
    credentials: server.credentials,
    ca: server.ca,
    spool: await temporaryDirectory(t),
    spoolBytes: 256 * 1024 * 1024,
    partBytes: 5 * 1024 * 1024,
    createBodyClient,
    openTtlMs: 1_000,
    ...more
  }
}

/** Opens the storage of a bucket, without `bucket` of a new one; closed when the test ends. */
export async function openS3(t: Test, server: S3Server, more: Partial<S3Options> = {}): Promise<S3Storage> {
  const storage = await S3Storage.open(await s3Options(t, server, more))
  t.teardown(() => storage.close())
  return storage
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK)
    return true
  } catch {
    return false
  }
}
