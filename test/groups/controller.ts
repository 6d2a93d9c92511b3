import { group } from './group.ts'

await group('src/{controller,kubernetes}/*.test.ts')
