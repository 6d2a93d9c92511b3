import type { BlobLine, ManifestLine, Report, UpstreamAnswer } from './report.ts'
import { bytesText, durationText, table } from './text.ts'

// Longer lists are summed up. Missing and damaged objects are listed in any case, up to this many.
const maxBlobs = 12
const maxManifests = 12

/** The report as text that fits on one screen; the advice is the last line. */
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
      : [['upstream', `${route.upstream}, repository ${route.upstreamName ?? 'none: the name is outside of its path'}`]]),
    ['password', route.anonymousPull === 'allowed' ? 'not needed to pull here' : 'needed to pull here']
  ]
}

function storedRows({ stored, route }: Report): string[][] {
  if (!stored || !route) return []
  if (stored.digest === undefined) return [['stored', 'nothing under this reference']]
  const origin = stored.origin === undefined || stored.origin === 'pushed' ? 'pushed' : `cached from ${stored.origin}`
  const age =
    stored.age === undefined ? '' : `, checked ${durationText(stored.age)} ago${stored.fresh === 'yes' ? '' : ', so checked again'}`
  return [
    ['stored', `${stored.digest}`],
    ['', `${words[stored.state]}, ${origin}${age}`]
  ]
}

function upstreamRows(answer: UpstreamAnswer): string[][] {
  const others = answer.endpoints.length > 1 ? answer.endpoints : []
  const { connection, name, certificate, access, found } = answer
  return [
    [
      'request',
      `${answer.username === undefined ? 'anonymous (no user is set)' : `as user ${answer.username}`}; ${answer.status ?? 'no answer'} after ${answer.ms} ms`
    ],
    [
      '',
      `name ${stepText(name)} · connection ${stepText(connection)} · certificate ${stepText(certificate)} · access ${stepText(access)} · image ${found === 'no' ? 'NOT FOUND' : stepText(found)}`
    ],
    ...(answer.digest === undefined ? [] : [['', `has ${answer.digest}`]]),
    ...(answer.told === undefined ? [] : [['', answer.told]]),
    ...others.map(({ url, healthy, lastError }) => [
      '',
      `${url} ${healthy ? 'healthy' : `unhealthy: ${lastError?.message ?? 'it limits requests'}`}`
    ])
  ]
}

const stepText = (step: string): string => ({ yes: 'ok', no: 'FAILED', unknown: '?', 'not needed': 'not needed' })[step] ?? step

function manifestRows({ route, manifest, manifests = [], near = [] }: Report): string[][] {
  if (!route) return []
  const similar = near.length > 0 ? [['similar tags', near.join(', ')]] : []
  if (!manifest) return [['image', 'no manifest'], ...similar]
  const head = ['image', `${manifest.digest} (${bytesText(manifest.size)}, from the ${manifest.from})`]
  const [only] = manifests
  if (manifests.length === 1 && only && only.digest === manifest.digest) return [head, ...blobRows(only), ...similar]
  const shown = manifests.slice(0, maxManifests)
  const rest = manifests.length > shown.length ? [['', `and ${manifests.length - shown.length} more`]] : []
  return [head, ...shown.flatMap(platformRows), ...rest]
}

function platformRows(line: ManifestLine): string[][] {
  const blobs = line.blobs.length === 0 ? '' : `, ${summary(line.blobs)}`
  const row = [line.platform ?? 'unknown', `${short(line.digest)}  ${words[line.state]}${blobs}`]
  return [row, ...line.blobs.filter(isBad).slice(0, maxBlobs).map(blobRow)]
}

function blobRows({ blobs }: ManifestLine): string[][] {
  if (blobs.length <= maxBlobs) return blobs.map((blob, at) => [at === 0 ? 'blobs' : '', ...blobRow(blob).slice(1)])
  return [['blobs', summary(blobs)], ...blobs.filter(isBad).slice(0, maxBlobs).map(blobRow)]
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
  const writable = { yes: 'writable', full: 'FULL', no: `NOT WRITABLE: ${disk.told}` }[disk.writable]
  return [['disk', `${disk.root}, ${space}, ${writable}`]]
}
