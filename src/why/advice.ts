import type { BlobLine, Cause, Report } from './report.ts'

/** What the sentence may name besides what is in the report. */
export interface Circumstances {
  reference: string
  /** Host and port of the upstream's endpoint that was asked. */
  endpoint: string
  /** Where the upstream's settings stand. */
  section: string
  /** The repository prefix in imagesRepo, and the host before it. */
  imagesRepo: string
  /** ms until the upstream may be asked again. */
  retryAfter?: number
  /** When a certificate of the setting `ca` ended. */
  expired?: Date
  /** The prefix that stands for imagesRepo. */
  path: string
  /** Hosts that may be asked for. */
  hosts: readonly string[]
  /** What is wrong with a reference that is none. */
  fault?: string
}

/** The one sentence at the end: what to do. */
export function adviceFor(report: Omit<Report, 'advice'>, about: Circumstances): string {
  if (report.cause === 'none' || report.cause === 'not-running')
    return 'A pull works: there is nothing to do here; if a node still fails, look at its containerd (hosts.toml, CA and password).'
  const what = sentences[report.cause](report, about)
  if (!report.works) return `${what}.`
  const first = report.manifest?.from === 'upstream' ? 'A pull works, but' : 'A pull works from what is stored here, but'
  return `${first} ${lowerFirst(what)}.`
}

/** The sentence where no process answers on the control socket. */
export function adviceWithoutRegistry(socketPath: string): string {
  return `No registry is running behind ${socketPath}: start it, or name the configuration that it runs with by --config.`
}

type Sentence = (report: Omit<Report, 'advice'>, about: Circumstances) => string

const sentences: Record<Exclude<Cause, 'none' | 'not-running'>, Sentence> = {
  'malformed-reference': (_, { fault }) =>
    `This is not a reference (${fault}): write it as <host>/<repository>:<tag> or <host>/<repository>@<digest>`,
  'unknown-host': (_, { hosts }) =>
    `This registry does not serve that host: use one of ${hosts.join(', ')}, or add the host under registry.upstreams (or server.names, if it is this registry)`,
  'outside-path': ({ route }, { path }) =>
    `The repository ${route?.name} is not below ${path}, which alone leads to the upstream: correct the name in the reference, or server.path`,
  dns: (_, { endpoint, section }) =>
    `The name ${hostOf(endpoint)} cannot be resolved on this node: check its spelling in ${section}, and this node's DNS (/etc/resolv.conf)`,
  'connection-refused': (_, { endpoint }) =>
    `${endpoint} refuses connections: check that the registry there is running, that the port is right, and that no firewall rejects this node`,
  unreachable: (_, { endpoint }) =>
    `${endpoint} cannot be reached: check the network, the firewall and the proxy settings between this node and it`,
  timeout: (_, { endpoint }) => `${endpoint} takes too long to answer: check how it does, and the network or proxy in between`,
  'tls-untrusted': (_, { endpoint, section, expired }) =>
    `The certificate of ${endpoint} is signed by an authority that is not trusted here: put the certificate of that authority into ${section}.ca${expired ? ` (one that is there expired on ${day(expired)})` : ''}`,
  'tls-expired': (_, { endpoint, section, expired }) =>
    expired
      ? `The certificate in ${section}.ca expired on ${day(expired)}: put the new certificate of the authority of ${endpoint} in its place`
      : `The certificate of ${endpoint}, or of the authority that signed it, has expired or is not valid yet: renew it there, and check the clock of this node`,
  'tls-name': (_, { endpoint, section }) =>
    `The certificate of ${endpoint} is made out to another name: correct the host in ${section}, or have a certificate made for this name`,
  tls: (_, { endpoint, section }) =>
    `${endpoint} does not speak TLS as expected: check the port, and whether ${section}.scheme has to be HTTP`,
  unauthorized: ({ upstream }, { endpoint, section }) =>
    upstream?.username === undefined
      ? `${endpoint} wants a user and a password: set them (or the license) in ${section}`
      : `${endpoint} does not accept the password of user ${upstream.username}: correct the user, password or license in ${section}`,
  denied: ({ upstream, route }, { endpoint, section }) =>
    `${endpoint} knows ${upstream?.username === undefined ? 'anonymous clients' : `user ${upstream.username}`} but forbids ${route?.upstreamName ?? 'this'}: have the right to pull granted there, or correct the path and the user in ${section}`,
  'rate-limited': (_, { endpoint, section, retryAfter }) =>
    `${endpoint} limits how often it may be asked${retryAfter === undefined ? '' : ` and can be asked again in ${seconds(retryAfter)}`}: wait, or use an account with a higher limit in ${section}`,
  'wrong-path': (_, { imagesRepo, section }) => `There is no repository ${imagesRepo} upstream: correct the path in ${section}.imagesRepo`,
  'repository-unknown': ({ route }) =>
    route?.mode === 'Local'
      ? `Nothing was ever pushed to ${route.name}: push the image, or correct the repository in the reference`
      : `The upstream has no repository ${route?.upstreamName}: correct the repository in the reference, or publish it there`,
  'tag-unknown': ({ route, near }, { reference }) => {
    const there = route?.mode === 'Local' ? 'here' : 'upstream'
    const instead = near && near.length > 0 ? `did you mean ${near.join(' or ')}? Otherwise ` : ''
    const act = route?.mode === 'Local' ? 'push the image' : 'publish the image there'
    return `The tag of ${reference} is not ${there}: ${instead || 'correct the tag, or '}${act}`
  },
  'manifest-unknown': ({ route, manifests }) =>
    `${manifests ? 'A part of the image' : 'The image with this digest'} is not ${place(route)}: ${route?.mode === 'Local' ? 'push the image (again)' : 'correct the digest, or publish the image there (again)'}`,
  'blob-unknown': ({ route, manifests }) =>
    `${count(blobsIn(manifests, 'missing'))} of the image ${route?.mode === 'Local' ? 'is not here: push the image again' : 'is neither here nor upstream: have the image published there again'}`,
  'not-a-registry': ({ upstream }, { endpoint, section }) =>
    `${endpoint} answers, but not as a registry does (${upstream?.told ?? 'no usable answer'}): check the host, the port and the scheme in ${section}`,
  'redirect-refused': ({ upstream }, { section }) =>
    `The upstream sends clients to a place that is not trusted (${upstream?.told ?? ''}): correct the host in ${section}, or allow the token host in upstream.tokenHosts`,
  'upstream-broken': ({ upstream }, { endpoint }) =>
    `${endpoint} fails (${upstream?.told ?? 'no usable answer'}): look at the logs of the registry there`,
  damaged: ({ route, manifests, stored }) =>
    damaged(route?.mode, blobsIn(manifests, 'damaged'), stored?.state === 'damaged' ? 'manifest' : 'blobs'),
  'disk-full': ({ route, disk, works }) =>
    `The disk of ${disk?.root} is full: free space there${works ? (route?.mode === 'Local' ? ', or pushes are refused' : ', or nothing new is kept') : ' and push the image again'}`,
  disk: ({ disk }) => `Nothing can be written to ${disk?.root} (${disk?.told}): mend the disk, its mount options or its owner`
}

function damaged(mode: string | undefined, blobs: BlobLine[], what: 'manifest' | 'blobs'): string {
  const again = mode === 'Local' ? 'push the image again' : 'pull again, which downloads it anew'
  const files = blobs.flatMap(({ note }) => (note ? [note] : []))
  if (files.length === 0) {
    const which = what === 'manifest' ? 'The manifest' : count(blobs)
    return `${which} of the image is damaged on the disk here: ${mode === 'Local' ? again : 'have the image published upstream again'}`
  }
  return `${count(blobs)} of the image has wrong bytes on the disk here: remove ${files.join(' and ')}, then ${again}`
}

function blobsIn(manifests: Report['manifests'], state: BlobLine['state']): BlobLine[] {
  const all = (manifests ?? []).flatMap(({ blobs }) => blobs).filter(blob => blob.state === state)
  return [...new Map(all.map(blob => [blob.digest, blob])).values()]
}

function count(blobs: BlobLine[]): string {
  const [first] = blobs
  if (blobs.length === 1 && first) return `The blob ${first.digest.slice(0, 19)}…`
  return blobs.length === 0 ? 'A part' : `Each of ${blobs.length} blobs`
}

function place(route: Report['route']): string {
  if (route?.mode === 'Local') return 'here'
  return route?.mode === 'Direct' ? 'upstream' : 'here or upstream'
}

const hostOf = (endpoint: string): string => endpoint.replace(/:\d+$/, '')
const day = (date: Date): string => date.toISOString().slice(0, 10)
const seconds = (ms: number): string => `${Math.ceil(ms / 1_000)} s`
const lowerFirst = (text: string): string =>
  /^(The|A|There|Nothing|No|This|Each)\b/.test(text) ? text.charAt(0).toLowerCase() + text.slice(1) : text
