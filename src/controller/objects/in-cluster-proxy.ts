import { encodeSecret, type KubernetesObject } from '../../kubernetes/object.ts'
import { names } from './names.ts'
import { type ProxyConfig, proxyFolder } from './proxy-config.ts'

/** Where the in-cluster proxy runs. */
export interface ProxyPlacement {
  image: string
  /** How many control-plane nodes there are. */
  replicas: number
}

const name = names.inClusterProxy
const selector = { app: name, component: 'registry-service', type: 'incluster-proxy' }
const adminPort = 5002
// That of the image.
const user = 64535

/** Secret, Deployment and PodDisruptionBudget of the in-cluster proxy. A new version rolls the pods. */
export function renderInClusterProxy({ files, version }: ProxyConfig, placement: ProxyPlacement): KubernetesObject[] {
  const replicas = Math.max(1, placement.replicas)
  const metadata = (object: string) => ({
    name: object,
    namespace: names.namespace,
    labels: { ...selector, 'app.kubernetes.io/managed-by': 'registry-controller' }
  })
  const annotations = { [names.annotations.version]: version }
  return [
    {
      apiVersion: 'v1',
      kind: 'Secret',
      metadata: { ...metadata(names.secrets.inClusterProxy), annotations },
      type: 'Opaque',
      data: encodeSecret(files)
    },
    {
      apiVersion: 'policy/v1',
      kind: 'PodDisruptionBudget',
      metadata: metadata(name),
      spec: { maxUnavailable: replicas > 1 ? 1 : 0, selector: { matchLabels: selector } }
    },
    {
      apiVersion: 'apps/v1',
      kind: 'Deployment',
      metadata: { ...metadata(name), annotations },
      spec: {
        replicas,
        selector: { matchLabels: selector },
        strategy: { type: 'RollingUpdate', rollingUpdate: { maxUnavailable: replicas > 1 ? 1 : 0, maxSurge: 1 } },
        template: { metadata: { labels: selector, annotations }, spec: podSpec(placement.image) }
      }
    }
  ]
}

function podSpec(image: string): object {
  const probe = (path: string) => ({ httpGet: { path, port: adminPort } })
  return {
    automountServiceAccountToken: false,
    enableServiceLinks: false,
    nodeSelector: { 'node-role.kubernetes.io/control-plane': '' },
    priorityClassName: 'system-cluster-critical',
    // The proxy lets running transfers end for 25 s.
    terminationGracePeriodSeconds: 30,
    tolerations: [{ operator: 'Exists' }],
    affinity: {
      podAntiAffinity: {
        preferredDuringSchedulingIgnoredDuringExecution: [
          { weight: 1, podAffinityTerm: { topologyKey: 'kubernetes.io/hostname', labelSelector: { matchLabels: selector } } }
        ]
      }
    },
    securityContext: { runAsNonRoot: true, runAsUser: user, runAsGroup: user, fsGroup: user, seccompProfile: { type: 'RuntimeDefault' } },
    containers: [
      {
        name: 'distribution',
        image,
        imagePullPolicy: 'IfNotPresent',
        args: ['serve', '--config', `${proxyFolder}/config.yaml`],
        ports: [{ name: 'distribution', containerPort: names.port }],
        livenessProbe: { ...probe('/livez'), periodSeconds: 10, failureThreshold: 6, timeoutSeconds: 10 },
        readinessProbe: { ...probe('/readyz'), periodSeconds: 5, timeoutSeconds: 5 },
        resources: { requests: { cpu: '25m', memory: '64Mi' }, limits: { memory: '512Mi' } },
        securityContext: { allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: { drop: ['ALL'] } },
        volumeMounts: [
          { name: 'config', mountPath: proxyFolder, readOnly: true },
          { name: 'run', mountPath: '/run/registry' }
        ]
      }
    ],
    volumes: [
      { name: 'config', secret: { secretName: names.secrets.inClusterProxy, defaultMode: 0o440 } },
      { name: 'run', emptyDir: {} }
    ]
  }
}
