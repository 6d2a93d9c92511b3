/** A certificate and its private key, in PEM. */
export interface CertificateWithKey {
  cert: string
  key: string
}

/** The cluster's own authority, and the certificate of its tokens. */
export interface ClusterPki {
  ca: CertificateWithKey
  token: CertificateWithKey
}

/** A user of the replicas; `passwordHash` is bcrypt. */
export interface ClusterUser {
  name: string
  password: string
  passwordHash: string
}

/** The certificates of the registry on a node, and the address that they are for. */
export interface NodeCertificates {
  address: string
  auth: CertificateWithKey
  distribution: CertificateWithKey
}

/** The certificate of the in-cluster proxy, and the only user's password with its bcrypt hash. */
export interface ProxyMaterial {
  certificate: CertificateWithKey
  password: string
  passwordHash: string
}

/** Keys, certificates and passwords that exist and may still be used; what is due for renewal is left out. */
export interface ClusterMaterial {
  pki?: ClusterPki
  users: Readonly<Record<string, ClusterUser>>
  nodes: Readonly<Record<string, NodeCertificates>>
  proxy?: ProxyMaterial
}

/** What has to be generated before a switch goes on. */
export type MissingMaterial =
  | { kind: 'pki' }
  | { kind: 'user'; name: string }
  | { kind: 'node'; name: string; address: string }
  | { kind: 'proxy'; password: string }
