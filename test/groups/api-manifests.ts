import { group } from './group.ts'

await group('src/api/[m-z]*.test.ts')
