import { createPrivateKey, X509Certificate } from 'node:crypto'
import { BlockList, isIP } from 'node:net'
import { type Finding, formatValue, type Path } from '../read/fault.ts'
import { isMapping } from '../read/walk.ts'
import { moduleRules } from '../rules/module.ts'
import { parseCertificates } from '../values/certificates.ts'
import type { WantedSettings } from './schema.ts'

/** The user by whom nodes pull from the replicas. */
export const pullUser = 'ro'

// bcrypt takes no more of a password.
const maxPasswordBytes = 72

// Addresses by which no other node reaches this one; the agent has the loopback one.
const unreachable = new BlockList()
unreachable.addSubnet('0.0.0.0', 8)
unreachable.addSubnet('127.0.0.0', 8)
unreachable.addSubnet('224.0.0.0', 3)
unreachable.addAddress('::', 'ipv6')
unreachable.addAddress('::1', 'ipv6')
unreachable.addSubnet('fe80::', 10, 'ipv6')
unreachable.addSubnet('ff00::', 8, 'ipv6')

/** The rules of ModuleConfig `deckhouse` for the sections of the modes, in its own words; `value` may be invalid. */
export const upstreamRules = (value: unknown): readonly Finding[] =>
  isMapping(value) ? moduleRules({ registry: value }).map(finding => ({ ...finding, path: finding.path.slice(1) })) : []

/** The rules between settings of the wanted state. */
export const wantedRules = (wanted: WantedSettings, now: number): Finding[] => [
  ...addressRules(wanted),
  ...replicaRules(wanted),
  ...modeRules(wanted),
  ...userRules(wanted),
  ...authorityRules(wanted, now),
  ...(['direct', 'proxy', 'unmanaged'] as const).flatMap(section => validRules(wanted[section]?.ca, [section, 'ca'], now, () => true))
]

const addressRules = ({ node, replicas }: WantedSettings): Finding[] => [
  ...addressRule(node.address, ['node', 'address']),
  ...replicas.flatMap(({ address }, index) => addressRule(address, ['replicas', index, 'address']))
]

const addressRule = (address: string, path: Path): Finding[] => {
  const family = isIP(address)
  if (family !== 0 && !unreachable.check(address, family === 6 ? 'ipv6' : 'ipv4')) return []
  return [{ path, expected: 'an IP address by which other nodes reach this one', value: formatValue(address) }]
}

const replicaRules = ({ node, replicas, mode }: WantedSettings): Finding[] => {
  const findings = [
    ...twice(
      replicas.map(each => each.name),
      'name'
    ),
    ...twice(
      replicas.map(each => canonical(each.address)),
      'address'
    )
  ]
  const own = replicas.findIndex(({ name }) => name === node.name)
  const found = replicas[own]
  if (found && canonical(found.address) !== canonical(node.address))
    findings.push({
      path: ['replicas', own, 'address'],
      expected: `the address of this node, ${node.address}`,
      value: formatValue(found.address)
    })
  if (found && node.role === 'worker')
    findings.push({
      path: ['replicas', own, 'name'],
      expected: 'a control-plane node; this one is a worker',
      value: formatValue(node.name)
    })
  if (!found && node.role === 'control-plane' && (mode === 'Proxy' || mode === 'Local'))
    findings.push({ path: ['replicas'], expected: `this node among them, since it is a control-plane node (${node.name})` })
  return findings
}

// One spelling for an IPv6 address.
const canonical = (address: string): string => (isIP(address) === 6 ? new URL(`http://[${address}]`).hostname : address)

const twice = (values: readonly string[], key: 'name' | 'address'): Finding[] =>
  values.flatMap((value, index) =>
    values.indexOf(value) < index
      ? [{ path: ['replicas', index, key], expected: `every ${key} at most once`, value: formatValue(value) }]
      : []
  )

const modeRules = ({ mode, balancer, rewrite, replicas, node, image }: WantedSettings): Finding[] => {
  if (mode === 'Unmanaged') return []
  const findings: Finding[] = []
  if (rewrite === 'containerd' && mode !== 'Direct')
    findings.push({
      path: ['rewrite'],
      expected: 'mode Direct beside it: in other modes there is no path of an upstream',
      value: '"containerd"'
    })
  if (replicas.length === 0 && (mode !== 'Direct' || (balancer === 'hosts' && rewrite === 'agent')))
    findings.push({ path: ['replicas'], expected: 'at least one: nodes pull from them' })
  if (!image && (node.role === 'control-plane' || usesAgent({ balancer, rewrite })))
    findings.push({ path: ['image'], expected: 'the image of the static pods; it is missing' })
  return findings
}

/** Whether containerd of this node asks the agent. */
export const usesAgent = ({ balancer, rewrite }: Pick<WantedSettings, 'balancer' | 'rewrite'>): boolean =>
  balancer === 'agent' && rewrite === 'agent'

const userRules = ({ users, mode, node, balancer, rewrite }: WantedSettings): Finding[] => {
  const findings: Finding[] = []
  for (const [name, { password, passwordHash }] of Object.entries(users)) {
    if (password === undefined && passwordHash === undefined) findings.push({ path: ['users', name], expected: 'password or passwordHash' })
    if (password !== undefined && Buffer.byteLength(password) > maxPasswordBytes)
      findings.push({ path: ['users', name, 'password'], expected: `at most ${maxPasswordBytes} bytes: bcrypt takes no more of it` })
  }
  if (mode === 'Unmanaged') return findings
  const pulls = mode !== 'Direct' || (balancer === 'hosts' && rewrite === 'agent')
  const ro = Object.hasOwn(users, pullUser) ? users[pullUser] : undefined
  if (pulls && ro?.password === undefined)
    findings.push({ path: ['users', pullUser, 'password'], expected: 'a password: nodes pull from the replicas by it; it is missing' })
  else if (node.role === 'control-plane' && Object.keys(users).length === 0)
    findings.push({ path: ['users'], expected: 'at least one user: the replica of this node listens on its address' })
  return findings
}

const authorityRules = (wanted: WantedSettings, now: number): Finding[] => {
  const { pki, node, replicas, mode, balancer, rewrite } = wanted
  const findings = validRules(pki.ca, ['pki', 'ca'], now, certificate => certificate.ca)
  if (pki.caKey !== undefined) findings.push(...keyRules(pki.ca, pki.caKey))
  if (mode === 'Unmanaged') return findings
  const asksReplicas = mode !== 'Direct' || (balancer === 'hosts' && rewrite === 'agent')
  const several = replicas.length > 1
  if (isAbsent(pki.ca)) {
    if (several || (node.role === 'worker' && asksReplicas))
      findings.push({
        path: ['pki', 'ca'],
        expected: 'the authority of the replicas: this node cannot make one for the others; it is missing'
      })
  } else if (node.role === 'control-plane' && pki.caKey === undefined)
    findings.push({ path: ['pki', 'caKey'], expected: 'the key of pki.ca: the replica of this node needs a certificate; it is missing' })
  return findings
}

const isAbsent = (ca: string | undefined): boolean => ca === undefined || ca.trim() === ''

/** The certificates of a text that was validated before. */
export const certificatesIn = (pem: string | undefined): X509Certificate[] =>
  isAbsent(pem)
    ? []
    : (parseCertificates(pem ?? '') ?? '')
        .split(/(?=-----BEGIN )/)
        .filter(Boolean)
        .map(each => new X509Certificate(each))

const validRules = (pem: string | undefined, path: Path, now: number, isAuthority: (certificate: X509Certificate) => boolean): Finding[] =>
  certificatesIn(pem).flatMap((certificate, index) => {
    const name = `certificate ${index + 1} (${certificate.subject.replaceAll('\n', ', ').slice(0, 80)})`
    if (certificate.validToDate.getTime() <= now)
      return [{ path, expected: `certificates that are valid; ${name} expired at ${certificate.validToDate.toISOString()}` }]
    if (certificate.validFromDate.getTime() > now)
      return [{ path, expected: `certificates that are valid; ${name} is valid from ${certificate.validFromDate.toISOString()} on` }]
    return isAuthority(certificate) ? [] : [{ path, expected: `certificates of authorities; ${name} is none (CA:TRUE is missing)` }]
  })

const keyRules = (ca: string | undefined, key: string): Finding[] => {
  const path = ['pki', 'caKey']
  const [first] = certificatesIn(ca)
  if (!first) return [{ path, expected: 'pki.ca beside it' }]
  try {
    return first.checkPrivateKey(createPrivateKey(key))
      ? []
      : [{ path, expected: 'the key of the first certificate in pki.ca; it is another' }]
  } catch {
    return [{ path, expected: 'a private key in PEM without a passphrase' }]
  }
}
