import { group } from './group.ts'

await group('src/sync/*.test.ts', 'sim/*.test.ts')
