import { group } from './group.ts'

await group('src/{operations,why,commands,ports,telemetry}/**/*.test.ts')
