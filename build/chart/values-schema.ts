import { join } from 'node:path'
import { published } from '../../config/published.ts'
import { settingsSchema } from '../../config/schema.ts'
import { project } from '../write.ts'

/** The folder of the chart. */
export const chartFolder = join(project, 'charts/registry')

type Schema = Record<string, unknown>

/** `charts/registry/values.schema.json`: the values of the chart, with the settings of the registry below `config`. */
export const valuesSchema = (): string =>
  `${JSON.stringify({ $schema: 'http://json-schema.org/draft-07/schema#', ...chart, properties: { ...values, config: settings() } }, null, 2)}\n`

const text = (description: string, more: Schema = {}): Schema => ({ type: 'string', description, ...more })
const list = (items: Schema, description: string): Schema => ({ type: 'array', items, description })
const mapping = (description: string, properties: Record<string, Schema>): Schema => ({
  type: 'object',
  description,
  properties,
  additionalProperties: false
})
const anyMapping = (description: string): Schema => ({ type: 'object', description })
const labels = (description: string): Schema => ({ type: 'object', additionalProperties: { type: 'string' }, description })

const secretName = { pattern: '^([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?)?$' }
// The form of an address; which of them are, TLS and the API server say.
const address = { type: 'string', pattern: '^([0-9]{1,3}([.][0-9]{1,3}){3}|[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*)$' }
const absolutePath = { pattern: '^/[^\\x00]+$' }

const chart = { title: 'registry', type: 'object', additionalProperties: false }

const values: Record<string, Schema> = {
  image: mapping('The image of the registry.', {
    repository: text('The repository of the image.', { minLength: 1 }),
    tag: text('Default: the appVersion of the chart.'),
    digest: text('In place of the tag.', { pattern: '^(sha256:[0-9a-f]{64})?$' }),
    pullPolicy: { enum: ['IfNotPresent', 'Always', 'Never'], description: 'When the kubelet pulls it.' },
    pullSecrets: list({ type: 'string' }, 'Names of Secrets in the namespace of the release.')
  }),
  nodeSelector: labels('The labels of the nodes that run the registry.'),
  addresses: list(address, 'The addresses of these nodes, for the certificate. Default: their InternalIP.'),
  tolerations: list({ type: 'object' }, 'Taints that the registry tolerates.'),
  storage: mapping('Where content is stored on the node.', { hostPath: text('A directory.', absolutePath) }),
  tls: mapping('The certificate.', {
    existingSecret: text('A Secret with tls.crt, tls.key and ca.crt. Default: one is made.', secretName)
  }),
  users: mapping('The users.', { existingSecret: text('A Secret with htpasswd. Default: ro, rw and metrics are made.', secretName) }),
  secretMounts: list(
    {
      ...mapping('A Secret and where it is mounted.', { secret: text('Its name.', secretName), path: text('A directory.', absolutePath) }),
      required: ['secret', 'path']
    },
    'Secrets that are mounted besides, for settings that name a file.'
  ),
  resources: anyMapping('Requests and limits of the container.'),
  priorityClassName: text('The priority of the Pods.'),
  networkPolicy: mapping('Which Pods may connect.', {
    enabled: { type: 'boolean' },
    metricsFrom: list({ type: 'object' }, 'Peers that may read the metrics; empty: all.')
  }),
  podDisruptionBudget: mapping('How many replicas stay while nodes are drained.', {
    enabled: { type: 'boolean' },
    minAvailable: { type: 'integer', minimum: 0 }
  }),
  agent: mapping('The agent on every node.', {
    enabled: { type: 'boolean' },
    tolerations: list({ type: 'object' }, 'Taints that it tolerates.'),
    existingSecret: text('A Secret in kube-system with ca.crt and password.', secretName),
    username: text('The user by which it pulls.', { pattern: '^[^:\\x00-\\x1f\\x7f]{1,255}$' }),
    containerd: mapping('The files of containerd.', {
      root: text('Its config_path; empty: none are written.', { pattern: '^(/[^\\x00]+)?$' }),
      leaving: { enum: ['refused', 'allowed'], description: 'Whether containerd may go on to a registry itself.' }
    }),
    resources: anyMapping('Requests and limits of the container.')
  }),
  podMonitor: mapping('How Prometheus finds the metrics.', {
    enabled: { enum: ['auto', true, false], description: 'auto: where the API server knows PodMonitors.' },
    interval: text('Between two scrapes.', { pattern: '^[0-9]+(ms|s|m|h)$' }),
    labels: labels('Labels by which Prometheus selects it.'),
    basicAuthSecret: text('A Secret with username and password of a user with the permission metrics.', secretName)
  }),
  global: anyMapping('What Helm gives to every chart.')
}

// What the Pod has fixed is no value: ports, certificate, users file and directory.
const fixed = {
  server: ['listen', 'admin', 'adminTLS', 'tls.certificate', 'tls.key'],
  storage: ['filesystem.root'],
  auth: ['users.file']
}

// A value that is missing stops the installation, and not the Pods.
function settings(): Schema {
  const schema = readByHelm(published(settingsSchema)) as { properties: Record<string, Section> }
  for (const [name, paths] of Object.entries(fixed)) {
    for (const path of paths) leaveOut(schema.properties[name], path.split('.'))
  }
  const { registry, ...others } = schema.properties
  const needs = ['Direct', 'Proxy'].map(mode => ({
    if: { properties: { mode: { const: mode } }, required: ['mode'] },
    // biome-ignore lint/suspicious/noThenProperty: a keyword of JSON Schema
    then: { required: [mode.toLowerCase()] }
  }))
  return { ...schema, properties: { registry: { ...registry, required: ['mode'], allOf: needs }, ...others }, required: ['registry'] }
}

type Section = Schema & { properties?: Record<string, Section>; required?: string[] }

function leaveOut(section: Section | undefined, [key = '', ...rest]: readonly string[]): void {
  if (!section?.properties?.[key]) throw new Error(`no setting is called ${key}`)
  if (rest.length > 0) {
    leaveOut(section.properties[key], rest)
    return
  }
  delete section.properties[key]
  if (section.required) section.required = section.required.filter(each => each !== key)
}

// Helm reads patterns as Go does: without lookaheads, without \u, and with a thousand repetitions at most. What is lost by
// that the registry refuses itself.
function readByHelm(schema: unknown): unknown {
  if (Array.isArray(schema)) return schema.map(readByHelm)
  if (schema === null || typeof schema !== 'object') return schema
  return Object.fromEntries(
    Object.entries(schema).map(([key, value]) => [
      key,
      key === 'pattern' && typeof value === 'string' ? goPattern(value) : readByHelm(value)
    ])
  )
}

function goPattern(pattern: string): string {
  return pattern
    .replace(/\\u([0-9A-Fa-f]{4})/g, '\\x{$1}')
    .replace(/\(\?[=!](?:[^()]|\([^()]*\))*\)/g, '')
    .replace(/\{(\d+),(\d{4,})\}/g, (_, least) => (least === '0' ? '*' : '+'))
}
