import { group } from './group.ts'

await group('storage/fs/*.test.ts')
