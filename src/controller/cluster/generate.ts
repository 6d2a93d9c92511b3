import { randomInt, X509Certificate } from 'node:crypto'
import { isGoodAuthority, isGoodServer } from '../../node/pki/certificates.ts'
import type { KeyPair } from '../../node/render/render.ts'
import type { CertificateWithKey, ClusterMaterial, MissingMaterial } from '../objects/material.ts'

const alphabet = 'abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789'
const passwordLength = 16
const secretLength = 25
const rounds = 10
const serviceName = 'registry.d8-system.svc'

/** A random text of letters and digits, for a secret that no person types. */
export function randomSecret(length = secretLength): string {
  return Array.from({ length }, () => alphabet[randomInt(alphabet.length)]).join('')
}

/** Leaves out what must be made anew: certificates near their end, of another authority, or for another address. */
export function goodMaterial(found: ClusterMaterial, now: number): ClusterMaterial {
  const { pki, nodes, proxy, ...rest } = found
  if (!pki || !isGoodAuthority(keyPair(pki.ca), now)) return { ...rest, nodes: {} }
  const authorities = [new X509Certificate(pki.ca.cert)]
  const isGood = (pair: CertificateWithKey, hosts: readonly string[]) => isGoodServer(keyPair(pair), { names: hosts, authorities, now })
  const good = Object.entries(nodes).filter(
    ([, { address, auth, distribution }]) => isGood(auth, hostsOf(address)) && isGood(distribution, hostsOf(address))
  )
  return { ...rest, pki, nodes: Object.fromEntries(good), ...(proxy && isGood(proxy.certificate, [serviceName]) ? { proxy } : {}) }
}

/** Makes what is missing. Keys are ECDSA P-256, passwords random, their hashes bcrypt. */
export async function generate(material: ClusterMaterial, missing: MissingMaterial, now: number): Promise<ClusterMaterial> {
  switch (missing.kind) {
    case 'pki': {
      const { makeAuthority } = await import('../../node/pki/issue.ts')
      const ca = await makeAuthority('registry-ca', now)
      return { ...material, pki: { ca: written(ca), token: written(await issue('registry-auth-token', [serviceName], ca, now)) } }
    }
    case 'user': {
      const password = randomSecret(passwordLength)
      const user = { name: missing.name, password, passwordHash: await hashed(password) }
      return { ...material, users: { ...material.users, [missing.name]: user } }
    }
    case 'node': {
      const { address, name } = missing
      const [auth, distribution] = [
        await server(material, 'registry-auth', address, now),
        await server(material, 'registry-distribution', address, now)
      ]
      return { ...material, nodes: { ...material.nodes, [name]: { address, auth, distribution } } }
    }
    case 'proxy': {
      const certificate = await server(material, 'registry-distribution', undefined, now)
      const { password } = missing
      return { ...material, proxy: { certificate, password, passwordHash: password === '' ? '' : await hashed(password) } }
    }
  }
}

function hostsOf(address: string): string[] {
  return ['127.0.0.1', 'localhost', address, serviceName]
}

async function server({ pki }: ClusterMaterial, name: string, address: string | undefined, now: number): Promise<CertificateWithKey> {
  if (!pki) throw new Error('a certificate needs an authority')
  return written(
    await issue(name, address === undefined ? ['localhost', '127.0.0.1', serviceName] : hostsOf(address), keyPair(pki.ca), now)
  )
}

async function issue(name: string, hosts: readonly string[], authority: KeyPair, now: number): Promise<KeyPair> {
  const { issueServer } = await import('../../node/pki/issue.ts')
  return issueServer(name, hosts, authority, now)
}

async function hashed(password: string): Promise<string> {
  const { hash } = await import('@node-rs/bcrypt')
  return hash(password, rounds)
}

function keyPair({ cert, key }: CertificateWithKey): KeyPair {
  return { certificate: cert, key }
}

function written({ certificate, key }: KeyPair): CertificateWithKey {
  return { cert: certificate, key }
}
