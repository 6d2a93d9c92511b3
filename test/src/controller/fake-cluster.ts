import { parse } from 'yaml'
import { observeObjects } from '../../../src/controller/cluster/observe.ts'
import { readMaterial } from '../../../src/controller/cluster/read-material.ts'
import type { CheckRequest } from '../../../src/controller/machine/check-request.ts'
import type { Condition } from '../../../src/controller/machine/conditions.ts'
import { type ClusterOutcome, machine } from '../../../src/controller/machine/machine.ts'
import type { CheckStatus, Observed } from '../../../src/controller/machine/observed.ts'
import type { ClusterState } from '../../../src/controller/machine/state.ts'
import type { BashibleConfig } from '../../../src/controller/objects/bashible-config.ts'
import { hashOfRegistry } from '../../../src/controller/objects/deckhouse-registry.ts'
import type { ClusterMaterial, MissingMaterial } from '../../../src/controller/objects/material.ts'
import { names } from '../../../src/controller/objects/names.ts'
import type { NodeConfig } from '../../../src/controller/objects/node-config.ts'
import { ownLabel, renderObjects } from '../../../src/controller/objects/render.ts'
import { readModuleConfig } from '../../../src/controller/settings/module-config.ts'
import type { WantedCluster } from '../../../src/controller/settings/params.ts'
import { decodeSecret, type KubernetesObject } from '../../../src/kubernetes/object.ts'

/** A node: what its part of the registry has applied, not what it was told. */
export interface FakeNode {
  name: string
  controlPlane: boolean
  ready: boolean
  containerd: 'default' | 'custom'
  /** Its part of the registry does nothing. */
  stuck?: boolean
  applied?: BashibleConfig
  replica?: { config: NodeConfig; version: string }
}

/** A write to the API server. */
export interface Write {
  what: string
  run(): void
}

/** What the cluster pulls from before its first switch. */
export const firstRepo = 'first.example.org/deckhouse/ee'

/** The parts of a cluster as objects; controllers and nodes act on them when the test says so. */
export class FakeCluster {
  readonly secrets = new Map<string, KubernetesObject>()
  readonly deployments = new Map<string, KubernetesObject>()
  readonly services = new Map<string, KubernetesObject>()
  readonly others = new Map<string, KubernetesObject>()
  readonly nodes: FakeNode[]
  wanted: WantedCluster = readModuleConfig(undefined)
  bootstrapped = true
  static = true
  deckhouse: { applied: string; ready: boolean } | undefined = { applied: '', ready: true }
  requiredImages = 'images-1'
  /** Whether every replica has all images, as pushed or fetched. */
  complete = false
  /** Images that no upstream has. */
  upstreamBroken = false
  check: CheckStatus | undefined
  outcome!: ClusterOutcome
  now = Date.parse('2026-11-30T09:00:00Z')
  #generated = 0
  #generation = 0

  constructor(controlPlane = 3, workers = 2) {
    this.nodes = []
    this.grow(controlPlane, workers)
    const [address = '', ...path] = firstRepo.split('/')
    const data = {
      address,
      path: `/${path.join('/')}`,
      scheme: 'https',
      '.dockerconfigjson': JSON.stringify({ auths: { [address]: {} } }),
      clusterIsBootstrapped: 'true'
    }
    const encoded = Object.fromEntries(Object.entries(data).map(([key, value]) => [key, Buffer.from(value).toString('base64')]))
    this.put({ apiVersion: 'v1', kind: 'Secret', metadata: { name: names.secrets.deckhouse, namespace: names.namespace }, data: encoded })
    if (this.deckhouse) this.deckhouse.applied = this.#registryHash()
  }

  /** Nodes join. */
  grow(controlPlane: number, workers: number): void {
    const join = (role: 'master' | 'worker', count: number) => {
      const first = this.nodes.filter(({ name }) => name.startsWith(role)).length
      for (let index = first; index < first + count; index++)
        this.nodes.push({ name: `${role}-${index}`, controlPlane: role === 'master', ready: true, containerd: 'default' })
    }
    join('master', controlPlane)
    join('worker', workers)
  }

  /** Another cluster in the same state. */
  copy(): FakeCluster {
    const copy = new FakeCluster(0, 0)
    Object.assign(copy, structuredClone({ ...this } as object))
    copy.#generated = this.#generated
    copy.#generation = this.#generation
    return copy
  }

  /** What a write has taken from a node that used it; one line each. */
  readonly wrong: string[] = []

  /** Edits the ModuleConfig. */
  want(registry: object): void {
    this.#generation++
    this.wanted = readModuleConfig({ metadata: { generation: this.#generation }, spec: { version: 1, settings: { registry } } })
  }

  put(object: KubernetesObject): void {
    const map = this.#mapOf(object.kind)
    if (object.metadata.name === names.secrets.bashible) this.#checkTold(object)
    map.set(object.metadata.name, structuredClone(object))
  }

  observe(material: ClusterMaterial): Observed {
    const nodes = this.nodes.map(node => this.#nodeObject(node))
    const deployments = new Map(this.deployments)
    if (this.deckhouse) deployments.set('deckhouse', { apiVersion: 'apps/v1', kind: 'Deployment', metadata: { name: 'deckhouse' } })
    return {
      ...observeObjects({ secrets: this.#withoutState(), nodes, pods: this.#pods(), deployments }),
      ...this.#stateOf(this.secrets.get(names.secrets.state)),
      bootstrapped: this.bootstrapped,
      static: this.static,
      material,
      requiredImages: this.requiredImages,
      freshSecret: 'a-random-text',
      ...(this.check ? { check: this.check } : {})
    }
  }

  /** What the controller does on a look: its writes, in order, none of them done yet. */
  look(): Write[] {
    let material = this.#material()
    do {
      this.outcome = machine(this.observe(material), this.wanted, this.now)
      material = this.outcome.missing.reduce((all, each) => this.#generate(all, each), material)
    } while (this.outcome.missing.length > 0)
    return this.#writes(renderObjects(this.outcome, material, { image: 'registry:test', replicas: 3 }))
  }

  /** Looks, and does all that follows. */
  settle(): void {
    for (const { run } of this.look()) run()
  }

  /** Everything but the controller acts once: nodes, the checker, Deckhouse, the controller of Deployments. */
  act(): void {
    this.now += 1000
    for (const node of this.nodes) if (!node.stuck) this.apply(node)
    this.runDeployment()
    this.runCheck()
    this.runDeckhouse()
  }

  /** Acts and looks until the switch has ended; returns how many rounds that took. */
  converge(beforeLook: () => void = () => {}): number {
    for (let round = 1; round <= 60; round++) {
      beforeLook()
      this.settle()
      if (this.isDone()) return round
      this.act()
    }
    throw new Error(`the switch does not end: ${JSON.stringify(this.conditions(), undefined, 1)}`)
  }

  isDone(): boolean {
    return this.condition('Ready')?.status === 'True'
  }

  /** The node does what `registry node run` does, all at once. */
  apply(node: FakeNode): void {
    const secret = this.secrets.get(names.secrets.nodePrefix + node.name)
    if (secret) {
      const { config = '', version = '' } = decodeSecret(secret)
      if (node.replica?.version !== version) node.replica = { config: parse(config) as NodeConfig, version }
    } else delete node.replica
    const told = this.secrets.get(names.secrets.bashible)
    if (told) node.applied = configOf(decodeSecret(told)['config'] ?? '')
    else delete node.applied
  }

  runDeployment(): void {
    const found = this.deployments.get(names.inClusterProxy)
    if (found) found.status = { observedGeneration: 1, replicas: 3, updatedReplicas: 3, availableReplicas: 3 }
  }

  /** The person who fills the replicas is quick. */
  runCheck(): void {
    const { check } = this.outcome
    if (!check) return
    const replicas = check.registries.some(({ name }) => this.nodes.some(node => node.name === name))
    if (replicas) this.complete = true
    this.check = this.#status(check, replicas ? this.complete : !this.upstreamBroken)
  }

  runDeckhouse(): void {
    if (this.deckhouse) this.deckhouse.applied = this.#registryHash()
  }

  /** The conditions as a person reads them. */
  conditions(): Condition[] {
    const { conditions = '' } = decodeSecret(this.secrets.get(names.secrets.state) ?? {})
    return (parse(conditions) ?? []) as Condition[]
  }

  condition(type: string): Condition | undefined {
    return this.conditions().find(each => each.type === type)
  }

  /** What would fail now, for a pull on any node or by a component; one line each. */
  broken(): string[] {
    const nodes = this.nodes.flatMap(({ name, applied }) => {
      const mirrors = Object.values(applied?.hosts ?? {}).flatMap(each => each.mirrors)
      return applied && !mirrors.some(({ host }) => this.#answers(host))
        ? [`${name}: no mirror answers of ${mirrors.map(each => each.host)}`]
        : []
    })
    return [...nodes, ...this.#brokenComponents(), ...this.wrong]
  }

  // To read YAML takes most of the time of a test, and most looks find the same.
  #material(): ClusterMaterial {
    const parts = [...this.secrets].filter(([name]) => /^registry-(pki|user-|node-config-|incluster)/.test(name))
    const key = JSON.stringify(parts)
    const material = materials.get(key) ?? readMaterial(new Map(parts), new Map(this.nodes.map(({ name }) => [name, addressOf(name)])))
    if (materials.size > 500) materials.clear()
    materials.set(key, material)
    return material
  }

  #withoutState(): Map<string, KubernetesObject> {
    const secrets = new Map(this.secrets)
    secrets.delete(names.secrets.state)
    return secrets
  }

  #stateOf(secret: KubernetesObject | undefined): Pick<Observed, 'state'> {
    if (!secret) return {}
    const text = secret.data?.['state'] ?? ''
    const found =
      states.get(text) ??
      observeObjects({ secrets: new Map([[names.secrets.state, secret]]), nodes: [], pods: [], deployments: new Map() }).state
    if (!found) return {}
    if (states.size > 500) states.clear()
    states.set(text, found)
    return { state: found }
  }

  #brokenComponents(): string[] {
    const { address = '' } = decodeSecret(this.secrets.get(names.secrets.deckhouse) ?? {})
    if (address !== names.host) return []
    const { selector } = (this.services.get(names.service)?.spec ?? {}) as { selector?: { type?: string } }
    const proxy = this.deployments.get(names.inClusterProxy)
    if (selector?.type === 'incluster-proxy' && proxy?.status) return []
    if (selector?.type === 'node-services' && this.#answers(names.proxyHost)) return []
    return [`components: the Service leads to ${selector?.type ?? 'nothing'}`]
  }

  // A registry outside the cluster always does: what a switch does is at stake, not what it comes from.
  #answers(host: string): boolean {
    if (host !== names.proxyHost) return true
    return this.nodes.some(({ replica }) => replica && (replica.config.proxy_mode || this.complete))
  }

  #status({ version, registries }: CheckRequest, ready: boolean): CheckStatus {
    const message = registries
      .map(({ name }) => `${name}: ${ready ? 'all 157 items are checked' : '0 of 157 items processed, 1 items with errors:'}`)
      .join('\n')
    return { version, ready, failing: !ready, message }
  }

  #writes({ apply, merge, keep }: ReturnType<typeof renderObjects>): Write[] {
    const wanted = new Set(apply.map(({ kind, metadata }) => `${kind}/${metadata.name}`))
    const write = (object: KubernetesObject): Write[] => {
      const before = this.#mapOf(object.kind).get(object.metadata.name)
      const { status: _, ...found } = before ?? {}
      if (JSON.stringify(found) === JSON.stringify(object)) return []
      return [
        {
          what: `apply ${object.metadata.name}`,
          run: () => this.put({ ...object, ...(object.kind === 'Deployment' ? { status: {} } : {}) })
        }
      ]
    }
    const removed = [...this.secrets.values(), ...this.deployments.values(), ...this.services.values(), ...this.others.values()].filter(
      ({ kind, metadata: { name, labels } }) =>
        labels?.['app.kubernetes.io/managed-by'] === ownLabel['app.kubernetes.io/managed-by'] &&
        name !== names.secrets.bashible &&
        !wanted.has(`${kind}/${name}`) &&
        !keep.has(name)
    )
    return [
      ...apply.flatMap(write),
      ...(merge ? this.#merge(merge) : []),
      ...removed.map(({ kind, metadata: { name } }) => ({ what: `remove ${name}`, run: () => this.#remove(kind, name) }))
    ]
  }

  // What the nodes are told has to have a mirror of what each of them has: the new one alone is told once all have it.
  #checkTold(secret: KubernetesObject): void {
    const told = mirrorsOf(configOf(decodeSecret(secret)['config'] ?? ''))
    for (const { name, applied } of this.nodes) {
      if (applied && !mirrorsOf(applied).some(each => told.includes(each)))
        this.wrong.push(`${name} has ${mirrorsOf(applied)} and is told ${told}`)
    }
  }

  #remove(kind: string, name: string): void {
    this.#mapOf(kind).delete(name)
    if (!name.startsWith(names.secrets.nodePrefix)) return
    for (const node of this.nodes) {
      if (node.applied && mirrorsOf(node.applied).some(each => each.includes(names.proxyHost)))
        this.wrong.push(`${name} is removed, and ${node.name} uses the replicas`)
    }
  }

  #merge(object: KubernetesObject): Write[] {
    const before = this.secrets.get(object.metadata.name)
    const merged = { ...object, ...before, data: { ...before?.data, ...object.data } }
    if (JSON.stringify(before) === JSON.stringify(merged)) return []
    return [{ what: 'merge deckhouse-registry', run: () => this.put(merged) }]
  }

  #mapOf(kind: string): Map<string, KubernetesObject> {
    if (kind === 'Secret') return this.secrets
    if (kind === 'Service') return this.services
    return kind === 'Deployment' ? this.deployments : this.others
  }

  #registryHash(): string {
    return hashOfRegistry(
      observeObjects({ secrets: this.secrets, nodes: [], pods: [], deployments: new Map() }).deckhouseRegistry ?? {
        address: '',
        path: '',
        scheme: '',
        ca: '',
        dockerConfig: ''
      }
    )
  }

  #nodeObject({ name, controlPlane, ready, containerd, applied }: FakeNode): KubernetesObject {
    return {
      apiVersion: 'v1',
      kind: 'Node',
      metadata: {
        name,
        labels: { [names.containerdLabel]: containerd, ...(controlPlane ? { 'node-role.kubernetes.io/control-plane': '' } : {}) },
        annotations: applied ? { [names.annotations.version]: applied.version } : {}
      },
      status: {
        addresses: [
          { type: 'Hostname', address: name },
          { type: 'InternalIP', address: addressOf(name) }
        ],
        conditions: [{ type: 'Ready', status: ready ? 'True' : 'False' }]
      }
    }
  }

  #pods(): KubernetesObject[] {
    const status = (ready: boolean) => ({ conditions: [{ type: 'Ready', status: ready ? 'True' : 'False' }] })
    const replicas = this.nodes.flatMap(({ name, replica }) => {
      if (!replica) return []
      const metadata = {
        name: `registry-nodeservices-${name}`,
        labels: { component: 'registry-service', type: 'node-services' },
        annotations: { [names.annotations.configVersion]: replica.version }
      }
      return [{ apiVersion: 'v1', kind: 'Pod', metadata, spec: { nodeName: name }, status: status(true) }]
    })
    if (!this.deckhouse) return replicas
    const { applied, ready } = this.deckhouse
    const metadata = {
      name: 'deckhouse-1',
      labels: { app: 'deckhouse', leader: 'true' },
      annotations: { 'checksum/registry-version': applied }
    }
    return [...replicas, { apiVersion: 'v1', kind: 'Pod', metadata, status: status(ready) }]
  }

  // Texts, not certificates: the machine takes them as they are.
  #generate(material: ClusterMaterial, missing: MissingMaterial): ClusterMaterial {
    const pair = (what: string) => ({ cert: `${what} ${++this.#generated}`, key: `key of ${what}` })
    switch (missing.kind) {
      case 'pki':
        return { ...material, pki: { ca: pair('ca'), token: pair('token') } }
      case 'user': {
        const user = { name: missing.name, password: `password ${++this.#generated}`, passwordHash: 'hash' }
        return { ...material, users: { ...material.users, [missing.name]: user } }
      }
      case 'node': {
        const certificates = { address: missing.address, auth: pair('auth'), distribution: pair('distribution') }
        return { ...material, nodes: { ...material.nodes, [missing.name]: certificates } }
      }
      case 'proxy':
        return { ...material, proxy: { certificate: pair('proxy'), password: missing.password, passwordHash: 'hash' } }
    }
  }
}

const configs = new Map<string, BashibleConfig>()
const materials = new Map<string, ClusterMaterial>()
const states = new Map<string, ClusterState>()

// Parsed once for all nodes.
function configOf(text: string): BashibleConfig {
  const config = configs.get(text) ?? (parse(text) as BashibleConfig)
  configs.set(text, config)
  return config
}

function mirrorsOf({ hosts }: BashibleConfig): string[] {
  return Object.entries(hosts).flatMap(([name, { mirrors }]) => mirrors.map(({ scheme, host }) => `${name}: ${scheme}://${host}`))
}

/** The address of a node, made of its name. */
export function addressOf(name: string): string {
  const [role, index] = name.split('-')
  return `10.0.${role === 'master' ? 0 : 1}.${Number(index) + 1}`
}
