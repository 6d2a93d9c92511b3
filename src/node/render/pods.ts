import { createHash } from 'node:crypto'
import { stringify } from 'yaml'
import type { Wanted } from '../../../config/node/wanted.ts'
import { addresses, type NodeFile, places, pods, podUser, publicFile } from '../layout.ts'

/** Who a pod runs as. */
export interface PodOwner {
  uid: number
  gid: number
}

/** The user of the image. */
export const ownPodUser: PodOwner = { uid: podUser, gid: podUser }

// What the scheduler and the kubelet give system-node-critical; a static pod needs the number where no API server is.
const nodeCritical = 2_000_001_000

const configHash = 'registry.deckhouse.io/config-hash'
const configVersion = 'registry.deckhouse.io/config-version'

/** The static pod of the replica, as the owner of its data. */
export function renderRegistryPod(image: string, owner: PodOwner): NodeFile {
  return manifest(pods.registry, {
    namespace: 'd8-system',
    labels: {
      'app.kubernetes.io/managed-by': pods.registry,
      heritage: 'deckhouse',
      module: 'registry',
      app: 'registry',
      component: 'registry-service',
      tier: 'control-plane',
      type: 'node-services'
    },
    spec: podSpec({
      owner,
      // The replica lets running transfers end for 25 s.
      terminationGracePeriodSeconds: 30,
      container: {
        name: 'distribution',
        image,
        args: ['serve', '--config', `/${places.registry}/serve.yaml`],
        ports: [{ name: 'distribution', containerPort: addresses.registryPort, hostPort: addresses.registryPort }],
        ...probes(addresses.registryAdmin),
        resources: { requests: { cpu: '50m', memory: '128Mi' }, limits: { memory: '768Mi' } }
      },
      mounts: [
        { name: 'config', path: places.registry, readOnly: true, type: 'Directory' },
        { name: 'data', path: places.data, readOnly: false, type: 'Directory' }
      ]
    })
  })
}

/** The static pod of the agent. */
export function renderAgentPod(image: string): NodeFile {
  return manifest(pods.agent, {
    namespace: 'kube-system',
    labels: { component: pods.agent, tier: 'control-plane', heritage: 'deckhouse', module: 'registry' },
    spec: podSpec({
      owner: ownPodUser,
      terminationGracePeriodSeconds: 30,
      container: {
        name: pods.agent,
        image,
        args: ['agent', '--config', `/${places.agent}/agent.yaml`, '--last-good', `/${places.agentState}/last-good.yaml`],
        ...probes(addresses.agentAdmin),
        resources: { requests: { cpu: '25m', memory: '64Mi' }, limits: { memory: '256Mi' } }
      },
      mounts: [
        { name: 'config', path: places.agent, readOnly: true, type: 'Directory' },
        { name: 'state', path: places.agentState, readOnly: false, type: 'Directory' }
      ]
    })
  })
}

/** The image that the pods of a wanted state run. */
export function imageOf({ image }: Wanted): string {
  if (!image) throw new Error('image: expected where static pods run')
  return image.reference
}

interface Mount {
  name: string
  path: string
  readOnly: boolean
  type: 'Directory'
}

interface PodParts {
  owner: PodOwner
  terminationGracePeriodSeconds: number
  container: object
  mounts: readonly Mount[]
}

function podSpec({ owner, terminationGracePeriodSeconds, container, mounts }: PodParts): object {
  return {
    hostNetwork: true,
    // A name of the cluster could not be resolved before the cluster is up.
    dnsPolicy: 'Default',
    priorityClassName: 'system-node-critical',
    priority: nodeCritical,
    terminationGracePeriodSeconds,
    // A static pod has no service account.
    automountServiceAccountToken: false,
    enableServiceLinks: false,
    tolerations: [{ operator: 'Exists' }],
    securityContext: {
      runAsNonRoot: owner.uid !== 0,
      runAsUser: owner.uid,
      runAsGroup: owner.gid,
      // The group of the configuration.
      ...(owner.gid === podUser ? {} : { supplementalGroups: [podUser] }),
      seccompProfile: { type: 'RuntimeDefault' }
    },
    containers: [
      {
        ...container,
        // The image is imported and never pulled.
        imagePullPolicy: 'IfNotPresent',
        securityContext: { allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: { drop: ['ALL'] } },
        volumeMounts: mounts.map(({ name, path, readOnly }) => ({ name, mountPath: `/${path}`, ...(readOnly ? { readOnly } : {}) }))
      }
    ],
    volumes: mounts.map(({ name, path, type }) => ({ name, hostPath: { path: `/${path}`, type } }))
  }
}

function probes(admin: string): object {
  const [host, port] = admin.split(':')
  const get = (path: string) => ({ httpGet: { host, port: Number(port), path } })
  return {
    startupProbe: { ...get('/livez'), periodSeconds: 1, failureThreshold: 120, timeoutSeconds: 5 },
    livenessProbe: { ...get('/livez'), periodSeconds: 10, failureThreshold: 6, timeoutSeconds: 10 },
    readinessProbe: { ...get('/readyz'), periodSeconds: 5, timeoutSeconds: 5 }
  }
}

/**
 * The annotations hold what a restart is for, the pod itself, and not the settings: those are reloaded, and a changed
 * annotation makes the kubelet replace the pod, which takes a quarter of a minute.
 */
function manifest(name: string, { namespace, labels, spec }: { namespace: string; labels: object; spec: object }): NodeFile {
  const hash = createHash('sha256').update(JSON.stringify({ labels, spec })).digest('hex')
  const annotations = { [configHash]: hash, [configVersion]: hash }
  const pod = { apiVersion: 'v1', kind: 'Pod', metadata: { name, namespace, labels, annotations }, spec }
  return publicFile(`${places.manifests}/${name}.yaml`, 'manifest', stringify(pod, { lineWidth: 0 }))
}
