import type { BlobLine, ManifestLine, Report, UpstreamAnswer } from './report.ts'
import { bytesText, durationText, table } from './text.ts'

// More than fits beside the rest is summed up; what is wrong is always listed, up to this many.
const mostBlobs = 12
const mostManifests = 12

/** The report as it stands on one screen, the sentence last. */
export function reportText(report: Report): string {
  const rows = [
    ['reference', report.reference],
    ...routeRows(report),
    ...storedRows(report),
    ...(report.upstream ? upstreamRows(report.upstream) : []),
    ...manifestRows(report),
    ...diskRows(report),
    ['pull', report.works ? 'works' : 'does not work']
  ]
  return `${table(rows)}\n\n${report.advice}\n`
}

function routeRows({ route }: Report): string[][] {
  if (!route) return []
  const way = {
    Local: 'from what was pushed here',
    Proxy: 'from what is stored here, else from the upstream',
    Direct: 'from the upstream; nothing is stored'
  }
  return [
    ['mode', `${route.mode}: ${way[route.mode]}`],
    ['repository', route.storedAs === undefined ? route.name : `${route.name}, stored as ${route.storedAs}`],
    ...(route.upstream === undefined
      ? []
      : [['upstream', `${route.upstream}, asked for ${route.upstreamName ?? 'nothing: the name is outside of its path'}`]]),
    ['password', route.anonymousPull === 'allowed' ? 'not needed to pull here' : 'needed to pull here']
  ]
}

function storedRows({ stored, route }: Report): string[][] {
  if (!stored || !route) return []
  if (stored.digest === undefined) return [['stored', 'nothing under this reference']]
  const origin = stored.origin === undefined || stored.origin === 'pushed' ? 'pushed' : `cached from ${stored.origin}`
  const age = stored.age === undefined ? '' : `, checked ${durationText(stored.age)} ago${stored.fresh === 'yes' ? '' : ', so asked again'}`
  return [
    ['stored', `${stored.digest}`],
    ['', `${words[stored.state]}, ${origin}${age}`]
  ]
}

function upstreamRows(asking: UpstreamAnswer): string[][] {
  const others = asking.endpoints.length > 1 ? asking.endpoints : []
  const { connection, name, certificate, access, found } = asking
  return [
    [
      'asked',
      `as ${asking.username === undefined ? 'nobody (no user is set)' : `user ${asking.username}`}; ${asking.status ?? 'no answer'} after ${asking.ms} ms`
    ],
    [
      '',
      `name ${answer(name)} · connection ${answer(connection)} · certificate ${answer(certificate)} · access ${answer(access)} · image ${found === 'no' ? 'NOT FOUND' : answer(found)}`
    ],
    ...(asking.digest === undefined ? [] : [['', `has ${asking.digest}`]]),
    ...(asking.told === undefined ? [] : [['', asking.told]]),
    ...others.map(({ url, healthy, lastError }) => [
      '',
      `${url} ${healthy ? 'does well' : `failed: ${lastError?.message ?? 'it wants to be left alone'}`}`
    ])
  ]
}

const answer = (step: string): string => ({ yes: 'ok', no: 'FAILED', unknown: '?', 'not needed': 'not needed' })[step] ?? step

function manifestRows({ route, manifest, manifests = [], near = [] }: Report): string[][] {
  if (!route) return []
  const maybe = near.length > 0 ? [['similar tags', near.join(', ')]] : []
  if (!manifest) return [['image', 'no manifest'], ...maybe]
  const head = ['image', `${manifest.digest} (${bytesText(manifest.size)}, from the ${manifest.from})`]
  const [only] = manifests
  if (manifests.length === 1 && only && only.digest === manifest.digest) return [head, ...blobRows(only), ...maybe]
  const shown = manifests.slice(0, mostManifests)
  const rest = manifests.length > shown.length ? [['', `and ${manifests.length - shown.length} more`]] : []
  return [head, ...shown.flatMap(platformRows), ...rest]
}

function platformRows(line: ManifestLine): string[][] {
  const blobs = line.blobs.length === 0 ? '' : `, ${summary(line.blobs)}`
  const row = [line.platform ?? 'unknown', `${short(line.digest)}  ${words[line.state]}${blobs}`]
  return [row, ...line.blobs.filter(isBad).slice(0, mostBlobs).map(blobRow)]
}

function blobRows({ blobs }: ManifestLine): string[][] {
  if (blobs.length <= mostBlobs) return blobs.map((blob, at) => [at === 0 ? 'blobs' : '', ...blobRow(blob).slice(1)])
  return [['blobs', summary(blobs)], ...blobs.filter(isBad).slice(0, mostBlobs).map(blobRow)]
}

function blobRow({ digest, size, state, note }: BlobLine): string[] {
  return ['', `${short(digest)}  ${bytesText(size).padStart(9)}  ${words[state]}${note === undefined ? '' : `: ${note}`}`]
}

function summary(blobs: readonly BlobLine[]): string {
  const bytes = bytesText(blobs.reduce((sum, { size }) => sum + size, 0))
  const counts = Object.entries(Object.groupBy(blobs, ({ state }) => state)).map(
    ([state, some]) => `${some?.length} ${words[state as BlobLine['state']]}`
  )
  return `${blobs.length} blobs (${bytes}): ${counts.join(', ')}`
}

const words: Record<BlobLine['state'], string> = {
  here: 'stored here',
  upstream: 'upstream',
  missing: 'MISSING',
  damaged: 'DAMAGED',
  unknown: 'not known'
}

const isBad = ({ state }: BlobLine): boolean => state === 'missing' || state === 'damaged' || state === 'unknown'
const short = (digest: string): string => digest.slice(0, 23)

function diskRows({ disk }: Report): string[][] {
  if (!disk) return []
  const space =
    disk.free === undefined || disk.total === undefined ? 'space not known' : `${bytesText(disk.free)} of ${bytesText(disk.total)} free`
  const writable = { yes: 'takes bytes', full: 'FULL: takes no bytes', no: `TAKES NO BYTES: ${disk.told}` }[disk.writable]
  return [['disk', `${disk.root}, ${space}, ${writable}`]]
}
