import { constantFrom, dictionary, jsonValue, nat, oneof, property, string, tuple, uint8Array } from 'fast-check'
import { test } from 'tap'
import { parseRoute } from '../../src/api/routes.ts'
import { digestOf, isDigest, parseDigest } from '../../src/oci/digest.ts'
import { OciError } from '../../src/oci/errors.ts'
import { mediaTypeOf, parseManifest } from '../../src/oci/manifest.ts'
import { isName, isTag, parseReference } from '../../src/oci/name.ts'
import { contentRange, parseChunkRange, parseRange, resolveRange } from '../../src/oci/range.ts'
import { parseSessionId } from '../../src/oci/sink.ts'
import { repeat } from '../long/scale.ts'
import { manifests } from './manifests.ts'
import { rangeField, requests } from './requests.ts'
import { tryPure } from './run.ts'

const known = { name: 'fuzz/known', digests: [digestOf(Buffer.from('{}')), digestOf(Buffer.from('x'), 'sha512')], tags: ['v1'] }
const text = oneof(
  string(),
  string({ unit: 'binary', maxLength: 300 }),
  string({ unit: constantFrom(...'aZ09._-/:%~\0\n'), maxLength: 300 })
)

/** What `task` gives, or undefined where it refuses as a client is to be told. Whatever else it throws is a fault. */
function unlessRefused<T>(task: () => T): T | undefined {
  try {
    return task()
  } catch (error) {
    if (error instanceof OciError && error.status >= 400 && error.status < 500) return undefined
    throw error
  }
}

test(`fuzz: any path is a route whose parts are what they should be, or refused with 4xx (${repeat})`, async () => {
  const path = oneof(
    requests(known).map(({ target }) => target.split('?', 1)[0] ?? ''),
    text.map(each => `/v2/${each}`),
    text
  )
  tryPure(
    property(path, each => {
      const route = unlessRefused(() => parseRoute(each))
      if (!route) return true
      const name = route.name === undefined || (isName(route.name) && !/(^|\/)[._]|\.\.|\/\/|[A-Z\\%\0]/.test(route.name))
      const digest = !('digest' in route) || isDigest(route.digest)
      const reference = !('reference' in route) || isTag(route.reference.tag ?? '') || isDigest(route.reference.digest ?? '')
      return name && digest && reference && (!('session' in route) || parseSessionId(route.session) === route.session)
    }),
    8_000
  )
})

test(`fuzz: any reference is a tag or a digest, or refused with 4xx (${repeat})`, async () => {
  tryPure(
    property(text, each => {
      const reference = unlessRefused(() => parseReference(each))
      const digest = unlessRefused(() => parseDigest(each))
      const safe = !/[/\\\0%]/.test(each) && each !== '.' && each !== '..'
      return (reference === undefined || safe) && (digest === undefined || (safe && reference?.digest === digest))
    }),
    4_000
  )
})

test(`fuzz: any Range selects a part inside of the blob, or nothing (${repeat})`, async () => {
  tryPure(
    property(oneof(rangeField, text), nat(1_000), (field, size) => {
      const range = parseRange(field)
      const part = range && resolveRange(range, size)
      if (!part) return true
      const inside = Number.isSafeInteger(part.offset) && part.offset >= 0 && part.length > 0 && part.offset + part.length <= size
      return inside && /^bytes \d+-\d+\/\d+$/.test(contentRange(part, size))
    }),
    4_000
  )
})

test(`fuzz: any Content-Range of a chunk is a part with a length, or refused (${repeat})`, async () => {
  const field = oneof(
    rangeField,
    text,
    tuple(nat(), nat()).map(pair => pair.join('-'))
  )
  tryPure(
    property(field, each => {
      const part = parseChunkRange(each)
      return part === undefined || (Number.isSafeInteger(part.offset + part.length) && part.offset >= 0 && part.length > 0)
    }),
    4_000
  )
})

test(`fuzz: any manifest is read as one kind with digests that are digests, or refused with 4xx (${repeat})`, async () => {
  const bytes = oneof(
    manifests(known),
    jsonValue().map(each => ({ bytes: Buffer.from(JSON.stringify(each)), type: undefined })),
    dictionary(constantFrom('schemaVersion', 'mediaType', 'config', 'layers', 'manifests', 'subject', '__proto__'), jsonValue()).map(
      each => ({
        bytes: Buffer.from(JSON.stringify({ schemaVersion: 2, ...each })),
        type: undefined
      })
    ),
    uint8Array().map(each => ({ bytes: Buffer.from(each), type: undefined }))
  )
  tryPure(
    property(bytes, ({ bytes, type }) => {
      if (typeof mediaTypeOf(bytes) !== 'string') return false
      const manifest = unlessRefused(() => parseManifest(bytes, type))
      if (!manifest) return true
      const { blobs, manifests, subject } = manifest
      const descriptors = [...blobs, ...manifests, ...(subject ? [subject] : [])]
      const clean = Object.getOwnPropertyNames(Object.prototype).every(each => !['schemaVersion', 'config', 'polluted'].includes(each))
      return clean && descriptors.every(({ digest, size }) => isDigest(digest) && Number.isSafeInteger(size) && size >= 0)
    }),
    4_000
  )
})
