import { group } from './group.ts'

await group(
  'config/*.test.ts',
  'src/oci/*.test.ts',
  'src/access/**/*.test.ts',
  'src/containerd/*.test.ts',
  'src/install/*.test.ts',
  'src/node/*.test.ts',
  'bench/*.test.ts',
  'compatibility/*.test.ts',
  'house/*.test.ts'
)
