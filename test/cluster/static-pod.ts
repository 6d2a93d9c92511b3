import { stringify } from 'yaml'
import type { Host } from './host.ts'
import { ownImage } from './images.ts'
import { places, ports, serveArguments } from './registry.ts'

/** The name of the pod in its manifest; that of its mirror in the API ends with the name of its node. */
export const staticPod = { name: 'registry', namespace: 'd8-system' } as const

const file = '/etc/kubernetes/manifests/registry.yaml'

/** Has the kubelet of a host run `serve` as a static pod: as little as it may have, on the network of the host. */
export async function writeServePod(host: Host): Promise<void> {
  const container = {
    name: 'registry',
    image: ownImage.reference,
    imagePullPolicy: 'Never',
    args: serveArguments,
    readinessProbe: { httpGet: { host: '127.0.0.1', port: ports.admin, path: '/readyz' }, periodSeconds: 1 },
    resources: { requests: { cpu: '50m', memory: '64Mi' }, limits: { memory: '512Mi' } },
    securityContext: {
      runAsNonRoot: true,
      readOnlyRootFilesystem: true,
      allowPrivilegeEscalation: false,
      capabilities: { drop: ['ALL'] },
      seccompProfile: { type: 'RuntimeDefault' }
    },
    volumeMounts: [
      { name: 'config', mountPath: places.config, readOnly: true },
      { name: 'data', mountPath: places.data }
    ]
  }
  const spec = {
    hostNetwork: true,
    priorityClassName: 'system-node-critical',
    terminationGracePeriodSeconds: 30,
    containers: [container],
    volumes: [
      { name: 'config', hostPath: { path: places.config, type: 'Directory' } },
      { name: 'data', hostPath: { path: places.data, type: 'Directory' } }
    ]
  }
  await host.write(file, stringify({ apiVersion: 'v1', kind: 'Pod', metadata: staticPod, spec }))
}
