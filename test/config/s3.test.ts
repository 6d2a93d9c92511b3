import { test } from 'tap'
import { renderConfig } from '../../config/effective.ts'
import { loaded, refused } from './written.ts'

const s3 = (more: string): string => `storage: { s3: { bucket: images, ${more} } }`

test('a bucket is read with sizes in bytes, and takes the place of the directory', t => {
  const { storage, server } = loaded(t, s3('redirect: { over: 1MiB }, partBytes: 8MiB, spool: /s, endpoint: "https://a.example.org/"'))
  t.match(storage.s3, { bucket: 'images', redirect: { over: 1_048_576 }, partBytes: 8_388_608, endpoint: 'https://a.example.org' })
  t.equal(server.control, '/s/control.sock')
  t.same(loaded(t, s3('redirect: always')).storage.s3?.redirect, { over: 0 })
  t.end()
})

test('the effective configuration of a bucket hides the secret key and loads to the same', t => {
  const config = loaded(t, s3('credentials: { accessKeyId: a, secretAccessKey: hunter2 }, redirect: always'))
  const text = renderConfig(config)
  t.notMatch(text, 'hunter2')
  t.same(loaded(t, text.replace("'***'", 'hunter2').replace('"***"', 'hunter2').replace('***', 'hunter2')).storage, config.storage)
  t.end()
})

test('what cannot be together with a bucket, or in it, is refused', t => {
  t.match(refused(t, 'storage: { s3: { bucket: images }, filesystem: { root: /r } }'), [/storage\.s3: either/])
  t.match(refused(t, s3('credentials: { accessKeyId: a }')), [/both of them/])
  t.match(refused(t, s3('credentials: { accessKeyId: a, secretAccessKey: b, file: /f }')), [/not both/])
  t.match(refused(t, s3('redirect: sometimes')), [/off, always/])
  t.match(refused(t, s3('partBytes: 1MiB')), [/from 5MiB/])
  t.match(refused(t, 'storage: { s3: { bucket: images }, budget: 80% }'), [/a bucket has no end/])
  t.end()
})
