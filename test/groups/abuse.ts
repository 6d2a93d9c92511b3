import { group } from './group.ts'

await group('abuse/*.test.ts')
