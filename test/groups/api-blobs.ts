import { group } from './group.ts'

await group('src/api/[a-l]*.test.ts')
