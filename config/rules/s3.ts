import type { Finding } from '../read/fault.ts'
import { isMapping } from '../read/walk.ts'
import type { Config, Settings } from '../schema.ts'

/** The rules between a bucket and other settings as they stand in the file, without defaults. */
export const s3Rules = (value: unknown): Finding[] => {
  const storage = isMapping(value) ? value['storage'] : undefined
  if (!isMapping(storage) || !isMapping(storage['s3'])) return []
  if (Object.hasOwn(storage, 'filesystem'))
    return [{ path: ['storage', 's3'], expected: 'either storage.filesystem or storage.s3, not both' }]
  return []
}

/** The rules between a bucket and other settings. */
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
