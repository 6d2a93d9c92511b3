import { X509Certificate } from 'node:crypto'
import type { BlobLine, Cause, Report } from './report.ts'
import type { ResolvedReference, WhyContext } from './resolve.ts'

/** What the advice may name besides the report. */
export interface AdviceContext {
  reference: string
  /** Host and port of the upstream's endpoint that answered, or failed. */
  endpoint: string
  /** The path of the upstream's settings in the configuration. */
  section: string
  /** Host and repository prefix of the upstream. */
  imagesRepo: string
  /** ms until the upstream accepts requests again. */
  retryAfter?: number
  /** When a certificate of the setting `ca` expired. */
  expired?: Date
  /** The prefix that stands for imagesRepo. */
  path: string
  /** The hosts that this registry serves. */
  hosts: readonly string[]
  /** Why the reference is malformed. */
  fault?: string
}

/** The context of advice about a reference; `endpoint` is the one that failed. */
export function adviceContextOf(reference: string, { config }: WhyContext, target?: ResolvedReference, endpoint?: string): AdviceContext {
  const settings = target?.upstream?.settings
  const expired = settings?.ca === undefined ? undefined : expiredIn(settings.ca)
  return {
    reference,
    endpoint: endpoint || (settings?.endpoints[0] ? new URL(settings.endpoints[0]).host : ''),
    section: target?.upstream?.section ?? 'registry',
    imagesRepo: settings ? [settings.host, settings.path].filter(part => part !== '').join('/') : '',
    path: config.server.path,
    hosts: [...config.server.names, ...Object.keys(config.registry.upstreams)],
    ...(expired ? { expired } : {})
  }
}

const pem = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g

// When the first expired certificate of a PEM text expired.
function expiredIn(certificates: string): Date | undefined {
  const ends = (certificates.match(pem) ?? []).map(each => new Date(new X509Certificate(each).validTo))
  return ends.find(end => end.getTime() < Date.now())
}

/** The last sentence of a report: what to do. */
export function adviceFor(report: Omit<Report, 'advice'>, about: AdviceContext): string {
  if (report.cause === 'none' || report.cause === 'not-running')
    return 'A pull works: there is nothing to do here; if a node still fails, look at its containerd (hosts.toml, CA and password).'
  const sentence = sentences[report.cause](report, about)
  if (!report.works) return `${sentence}.`
  const first = report.manifest?.from === 'upstream' ? 'A pull works, but' : 'A pull works from what is stored here, but'
  return `${first} ${lowerFirst(sentence)}.`
}

/** The advice where no process answers on the control socket. */
export function adviceWithoutRegistry(socketPath: string): string {
  return `No registry is running behind ${socketPath}: start it, or name the configuration that it runs with by --config.`
}

type Sentence = (report: Omit<Report, 'advice'>, about: AdviceContext) => string

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
  timeout: (_, { endpoint }) => `${endpoint} takes too long to answer: check its health, and the network or proxy in between`,
  'tls-untrusted': (_, { endpoint, section, expired }) =>
    `The certificate of ${endpoint} is signed by an authority that is not trusted here: put the certificate of that authority into ${section}.ca${expired ? ` (one in there expired on ${day(expired)})` : ''}`,
  'tls-expired': (_, { endpoint, section, expired }) =>
    expired
      ? `The certificate in ${section}.ca expired on ${day(expired)}: put the new certificate of the authority of ${endpoint} in its place`
      : `The certificate of ${endpoint}, or of the authority that signed it, has expired or is not valid yet: renew it there, and check the clock of this node`,
  'tls-name': (_, { endpoint, section }) =>
    `The certificate of ${endpoint} is for another name: correct the host in ${section}, or have a certificate issued for this name`,
  tls: (_, { endpoint, section }) =>
    `${endpoint} does not speak TLS as expected: check the port, and whether ${section}.scheme has to be HTTP`,
  unauthorized: ({ upstream }, { endpoint, section }) =>
    upstream?.username === undefined
      ? `${endpoint} requires a user and a password: set them (or the license) in ${section}`
      : `${endpoint} does not accept the password of user ${upstream.username}: correct the user, password or license in ${section}`,
  denied: ({ upstream, route }, { endpoint, section }) =>
    `${endpoint} accepts ${upstream?.username === undefined ? 'anonymous clients' : `user ${upstream.username}`} but forbids ${route?.upstreamName ?? 'this'}: have the right to pull granted there, or correct the path and the user in ${section}`,
  'rate-limited': (_, { endpoint, section, retryAfter }) =>
    `${endpoint} limits requests${retryAfter === undefined ? '' : ` and accepts them again in ${seconds(retryAfter)}`}: wait, or use an account with a higher limit in ${section}`,
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
    `The upstream redirects clients to a host that is not trusted (${upstream?.told ?? ''}): correct the host in ${section}, or list the host in upstream.tokenHosts (of tokens) or upstream.redirectHosts (of content)`,
  'upstream-broken': ({ upstream }, { endpoint }) =>
    `${endpoint} fails (${upstream?.told ?? 'no usable answer'}): look at the logs of the registry there`,
  damaged: ({ route, manifests, stored }) =>
    damaged(route?.mode, blobsIn(manifests, 'damaged'), stored?.state === 'damaged' ? 'manifest' : 'blobs'),
  'disk-full': ({ route, disk, works }) =>
    `The disk of ${disk?.root} is full: free space there${works ? (route?.mode === 'Local' ? ', or pushes are refused' : ', or nothing new is kept') : ' and push the image again'}`,
  disk: ({ disk }) => `Nothing can be written to ${disk?.root} (${disk?.told}): repair the disk, its mount options or its owner`
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
