/** Metadata of an object, as far as it is used (Kubernetes API, ObjectMeta). */
export interface ObjectMeta {
  name: string
  namespace?: string
  uid?: string
  resourceVersion?: string
  generation?: number
  creationTimestamp?: string
  deletionTimestamp?: string
  labels?: Record<string, string>
  annotations?: Record<string, string>
}

/** Any object of the API. Fields besides these are those of its kind. */
export interface KubernetesObject {
  apiVersion: string
  kind: string
  metadata: ObjectMeta
  /** Of a Secret; base64 in `data` of a Secret, plain in that of a ConfigMap. */
  type?: string
  data?: Record<string, string>
  spec?: unknown
  status?: unknown
}

/** A text as `data` of a Secret has it. */
export function encodeSecret(values: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(Object.entries(values).map(([key, value]) => [key, Buffer.from(value).toString('base64')]))
}

/** The texts in `data` of a Secret. */
export function decodeSecret({ data = {} }: Pick<KubernetesObject, 'data'>): Record<string, string> {
  return Object.fromEntries(Object.entries(data).map(([key, value]) => [key, Buffer.from(String(value), 'base64').toString()]))
}
