import { group } from './group.ts'

await group('src/content/shared/*.test.ts', 'storage/*.test.ts')
