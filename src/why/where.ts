import type { Config } from '../../config/schema.ts'

/** Where the store of a configuration is: a directory, or a bucket as the tools of AWS write it. */
export function storageLocation({ storage: { filesystem, s3 } }: Config): string {
  return s3 ? ['s3:/', s3.bucket, ...(s3.prefix === undefined ? [] : [s3.prefix])].join('/') : filesystem.root
}
