import type { Arbitrary } from 'fast-check'
import { array, constant, constantFrom, dictionary, integer, jsonValue, nat, oneof, record, string, tuple, uint8Array } from 'fast-check'
import type { Known } from './requests.ts'

type Path = readonly (string | number)[]

const image = 'application/vnd.oci.image.manifest.v1+json'
const index = 'application/vnd.oci.image.index.v1+json'
const docker = 'application/vnd.docker.distribution.manifest.v2+json'

const mediaTypes = constantFrom(
  image,
  index,
  docker,
  'application/vnd.docker.distribution.manifest.list.v2+json',
  'text/plain',
  '',
  'a'.repeat(3000),
  image.toUpperCase()
)

/** A manifest on its way: its bytes and what it is called. */
export interface FuzzManifest {
  bytes: Buffer
  type: string | undefined
}

function descriptors(known: Known): Arbitrary<unknown> {
  const digest = oneof(
    constantFrom(...known.digests),
    string(),
    constant(`sha256:${'0'.repeat(64)}`),
    constantFrom('sha256:../../../x', '__proto__', `sha512:${'g'.repeat(128)}`)
  )
  const size = oneof(constantFrom(0, 2, 500, 200_000, -1, 1e300, 0.5, Number.MAX_SAFE_INTEGER), integer())
  const extra = { annotations: dictionary(string(), oneof(string(), jsonValue())), urls: array(string(), { maxLength: 2 }), data: string() }
  return record({ mediaType: mediaTypes, digest, size, ...extra }, { requiredKeys: ['digest', 'size'] })
}

// Sound ones first: what is damaged afterwards should have come close.
function sound(known: Known): Arbitrary<Record<string, unknown>> {
  const descriptor = descriptors(known)
  const common = {
    subject: descriptor,
    artifactType: oneof(string(), constant('application/x.fuzz')),
    annotations: dictionary(string(), string())
  }
  const config = record({
    mediaType: constant('application/vnd.oci.image.config.v1+json'),
    digest: constant(known.digests[0]),
    size: constant(2)
  })
  const images = record(
    {
      schemaVersion: constant(2),
      mediaType: constantFrom(image, docker),
      config: nearly(config, descriptor),
      layers: array(nearly(config, descriptor), { maxLength: 4 }),
      ...common
    },
    { requiredKeys: ['schemaVersion', 'config', 'layers'] }
  )
  const indexes = record(
    { schemaVersion: constant(2), mediaType: constant(index), manifests: array(descriptor, { maxLength: 4 }), ...common },
    { requiredKeys: ['schemaVersion', 'mediaType', 'manifests'] }
  )
  return oneof<Arbitrary<Record<string, unknown>>[]>(images, images, indexes)
}

function nearly<T>(sound: Arbitrary<T>, other: Arbitrary<unknown>): Arbitrary<unknown> {
  return oneof({ weight: 8, arbitrary: sound }, { weight: 1, arbitrary: other })
}

const nested = (open: string, depth: number, close: string) => open.repeat(depth) + close.repeat(depth)
const hostile = constantFrom(
  nested('[', 100_000, ']'),
  nested('{"a":', 100_000, '}').replace('}', '1}'),
  `{"schemaVersion":2,"mediaType":"${image}","config":${nested('[', 50_000, ']')}}`,
  `{"schemaVersion":2,"mediaType":"${image}","annotations":${'{"a":'.repeat(20_000)}1${'}'.repeat(20_000)}}`,
  '{"__proto__":{"schemaVersion":2},"constructor":{"prototype":{}}}',
  '{"schemaVersion":2,"schemaVersion":1}',
  '{"schemaVersion":2,"manifests":[],"layers":[]}',
  '{"schemaVersion":2e0,"config":null,"layers":{"length":1e9}}',
  '\ufeff{}',
  '"\ud800"',
  ''
)

/** Manifests that are sound, nearly sound, and nothing like it. */
export function manifests(known: Known): Arbitrary<FuzzManifest> {
  const replaced = tuple(sound(known), nat(), oneof(jsonValue(), constantFrom(null, [], {}, '', -1, true, '__proto__'))).map(
    ([manifest, at, value]) => {
      const paths = pathsOf(manifest)
      return Buffer.from(JSON.stringify(replace(manifest, paths[at % paths.length] ?? [], value)) ?? '')
    }
  )
  const flipped = tuple(sound(known), nat(), uint8Array({ minLength: 1, maxLength: 4 })).map(([manifest, at, bytes]) => {
    const text = Buffer.from(JSON.stringify(manifest))
    text.set(bytes.subarray(0, text.length), at % Math.max(1, text.length - bytes.length))
    return text
  })
  const bytes = oneof(
    { weight: 3, arbitrary: sound(known).map(each => Buffer.from(JSON.stringify(each))) },
    { weight: 3, arbitrary: replaced },
    { weight: 2, arbitrary: flipped },
    { weight: 1, arbitrary: jsonValue().map(each => Buffer.from(JSON.stringify(each))) },
    { weight: 1, arbitrary: uint8Array({ maxLength: 100 }).map(each => Buffer.from(each)) },
    { weight: 1, arbitrary: hostile.map(each => Buffer.from(each)) }
  )
  return record({ bytes, type: oneof(constant(undefined), mediaTypes, constantFrom(image, index)) })
}

function pathsOf(value: unknown): Path[] {
  if (typeof value !== 'object' || value === null) return [[]]
  return [[], ...Object.entries(value).flatMap(([key, each]) => pathsOf(each).map(path => [key, ...path]))]
}

function replace(value: unknown, [first, ...rest]: Path, by: unknown): unknown {
  if (first === undefined) return by
  if (Array.isArray(value)) return value.map((each, at) => (String(at) === first ? replace(each, rest, by) : each))
  return { ...(value as object), [first]: replace((value as Record<string, unknown>)[first], rest, by) }
}
