import { group } from './group.ts'

await group('src/bundle/**/*.test.ts')
