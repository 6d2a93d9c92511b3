import { resolve } from 'node:path'
import type { Finding } from './read/fault.ts'
import { isMapping } from './read/walk.ts'
import type { Config, S3Config, Settings } from './schema.ts'
import { valid } from './valid.ts'
import { parseBytes } from './values/units.ts'

type S3Settings = Settings['storage']['s3']

/** The bucket of validated settings; relative paths start at `folder`. */
export const s3In = (s3: NonNullable<S3Settings>, folder: string): S3Config => {
  const { bucket, region, endpoint, forcePathStyle, prefix, credentials, ca, redirect } = s3
  return {
    bucket,
    region,
    ...(endpoint !== undefined && { endpoint: endpoint.replace(/\/$/, '') }),
    forcePathStyle,
    ...(prefix !== undefined && { prefix }),
    ...credentialsIn(credentials, folder),
    ...(ca !== undefined && ca.trim() !== '' && { ca }),
    ...(redirect !== 'off' && { redirect: { over: redirect === 'always' ? 0 : valid(parseBytes(redirect.over)) } }),
    partBytes: valid(parseBytes(s3.partBytes)),
    spool: resolve(folder, s3.spool),
    spoolBytes: valid(parseBytes(s3.spoolBytes))
  }
}

const credentialsIn = (credentials: NonNullable<S3Settings>['credentials'], folder: string): Pick<S3Config, 'credentials'> => {
  const { file, accessKeyId, secretAccessKey } = credentials ?? {}
  if (file !== undefined) return { credentials: { file: resolve(folder, file) } }
  return accessKeyId !== undefined && secretAccessKey !== undefined ? { credentials: { accessKeyId, secretAccessKey } } : {}
}

/** The settings that resolve to this bucket. */
export const s3SettingsOf = ({ redirect, ...s3 }: S3Config): Record<string, unknown> => ({ ...s3, redirect: redirect ?? 'off' })

/** What is wrong about a bucket beside other settings; `value` is what the file holds. */
export const s3Rules = (value: unknown): Finding[] => {
  const storage = isMapping(value) ? value['storage'] : undefined
  if (!isMapping(storage) || !isMapping(storage['s3'])) return []
  if (Object.hasOwn(storage, 'filesystem'))
    return [{ path: ['storage', 's3'], expected: 'either storage.filesystem or storage.s3, not both' }]
  return []
}

/** What no single setting shows. */
export const s3Checks = ({ storage: { s3, budget } }: Settings, config: Config): Finding[] => {
  if (!s3) return []
  const findings: Finding[] = []
  const { accessKeyId, secretAccessKey, file } = s3.credentials ?? {}
  const path = ['storage', 's3', 'credentials']
  if (file !== undefined && (accessKeyId !== undefined || secretAccessKey !== undefined))
    findings.push({ path: [...path, 'file'], expected: 'either a file or a pair of keys, not both' })
  else if ((accessKeyId === undefined) !== (secretAccessKey === undefined))
    findings.push({ path, expected: 'accessKeyId and secretAccessKey, both of them' })
  else if (s3.credentials && file === undefined && accessKeyId === undefined)
    findings.push({ path, expected: 'a file, or accessKeyId and secretAccessKey' })
  if (s3.ca !== undefined && s3.ca.trim() !== '' && config.storage.s3?.endpoint?.startsWith('http:'))
    findings.push({ path: ['storage', 's3', 'ca'], expected: 'an endpoint with https beside it' })
  if (typeof config.storage.budget === 'object')
    findings.push({
      path: ['storage', 'budget'],
      expected: 'a number of bytes: a bucket has no end that it could be a part of',
      value: String(budget)
    })
  return findings
}
