import { randomInt, X509Certificate } from 'node:crypto'
import { hash, verify } from '@node-rs/bcrypt'
import { certificatesIn } from '../../../config/node/rules.ts'
import type { Wanted } from '../../../config/node/wanted.ts'
import { parseHtpasswd } from '../../access/htpasswd.ts'
import { hasAgent, hasReplica, type KeyPair, type Material } from '../render/render.ts'
import { isGoodAuthority, isGoodServer } from './certificates.ts'

/** What an earlier `apply` made, as it is found on the node. */
export interface Saved {
  registry?: KeyPair | undefined
  agent?: KeyPair | undefined
  agentAuthority?: KeyPair | undefined
  registryAuthority?: KeyPair | undefined
  clientPassword?: string | undefined
  htpasswd?: string | undefined
}

const serviceName = 'registry.d8-system.svc'
const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789'
const passwordLength = 32
const bcryptCost = 10

/**
 * What the node has of its own: what is saved and still good, and the rest made anew. Certificates and authorities are
 * replaced when two thirds of their life are over; `now` is milliseconds.
 */
export async function prepareMaterial(wanted: Wanted, saved: Saved, now: number): Promise<Material> {
  const replica = hasReplica(wanted)
  const agent = hasAgent(wanted)
  const given = certificatesIn(wanted.pki.ca)
  const registryAuthority = replica && given.length === 0 ? await authority('registry-ca', saved.registryAuthority, now) : undefined
  const agentAuthority = agent ? await authority('registry-agent-ca', saved.agentAuthority, now) : undefined
  const registryCa = registryAuthority?.certificate ?? given.map(each => each.toString()).join('')
  const signer = registryAuthority ?? { certificate: given[0]?.toString() ?? '', key: wanted.pki.caKey ?? '' }
  const own = ['127.0.0.1', 'localhost', serviceName]
  return {
    clientPassword: saved.clientPassword && /^[0-9A-Za-z]{16,}$/.test(saved.clientPassword) ? saved.clientPassword : newPassword(),
    registryCa,
    agentCa: agentAuthority?.certificate ?? '',
    hashes: replica ? await hashesOf(wanted, saved.htpasswd) : new Map(),
    ...(registryAuthority && { registryAuthority }),
    ...(agentAuthority && { agentAuthority }),
    ...(replica && { registry: await server('registry-distribution', [...own, wanted.node.address], signer, saved.registry, now) }),
    ...(agentAuthority && { agent: await server('registry-agent', own, agentAuthority, saved.agent, now) })
  }
}

// A new authority is trusted beside the old one, whose certificates are in use until they are replaced.
async function authority(commonName: string, saved: KeyPair | undefined, now: number): Promise<KeyPair> {
  const known = certificatesIn(saved?.certificate)
  const valid = known.filter(({ validToDate }) => validToDate.getTime() > now)
  const certificates = valid.map(each => each.toString())
  if (saved && isGoodAuthority(saved, now)) {
    return valid.length === known.length ? saved : { key: saved.key, certificate: certificates.join('') }
  }
  const { makeAuthority } = await import('./issue.ts')
  const made = await makeAuthority(commonName, now)
  return { key: made.key, certificate: [made.certificate, ...certificates].join('') }
}

async function server(
  commonName: string,
  names: readonly string[],
  signer: KeyPair,
  saved: KeyPair | undefined,
  now: number
): Promise<KeyPair> {
  const current = new X509Certificate(signer.certificate)
  if (saved && isGoodServer(saved, { names, authorities: [current], now })) return saved
  const { issueServer } = await import('./issue.ts')
  return issueServer(commonName, names, signer, now)
}

// A bcrypt string is different each time: that of the file is kept as long as it fits the password.
async function hashesOf({ users }: Wanted, htpasswd: string | undefined): Promise<Map<string, string>> {
  const known = entriesOf(htpasswd)
  const made = Object.entries(users).map(async ([name, { password, passwordHash, previousHash }]) => {
    if (passwordHash !== undefined) return [name, passwordHash] as const
    if (password === undefined) throw new Error(`users.${name}: expected a password`)
    for (const each of known) {
      if (each.user !== name || each.hash === previousHash || each.cost > bcryptCost) continue
      if (await verify(password, each.hash)) return [name, each.hash] as const
    }
    return [name, await hash(password, bcryptCost)] as const
  })
  return new Map(await Promise.all(made))
}

function entriesOf(htpasswd: string | undefined): ReturnType<typeof parseHtpasswd> {
  try {
    return htpasswd === undefined ? [] : parseHtpasswd(htpasswd)
  } catch {
    // It was edited, and is written anew.
    return []
  }
}

function newPassword(): string {
  return Array.from({ length: passwordLength }, () => alphabet[randomInt(alphabet.length)]).join('')
}
