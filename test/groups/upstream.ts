import { group } from './group.ts'

await group('src/{upstream,backend,copy,http,agent}/**/*.test.ts')
