import { group } from './group.ts'

await group('storage/s3/*.test.ts')
