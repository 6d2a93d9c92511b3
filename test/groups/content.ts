import { group } from './group.ts'

await group('src/content/*.test.ts', 'src/content/{fill,gc,uploads}/*.test.ts')
