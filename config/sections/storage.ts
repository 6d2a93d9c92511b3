import { Type } from 'typebox'
import { inodes, path, rate, section, space } from './kinds.ts'
import { s3Section } from './s3.ts'

/** The storage and its limits. */
export const storageSection = section('The storage and its limits.', {
  filesystem: section(
    'A directory in the layout of CNCF Distribution.',
    {
      root: path({
        default: '/opt/deckhouse/registry',
        expects: 'the path of a directory',
        description: 'The directory that holds docker/registry/v2. One process at a time owns it.'
      }),
      writeLimit: rate('Bytes per second that pushes and cached downloads write together, to leave disk bandwidth to other programs.')
    },
    { reload: 'restart' }
  ),
  s3: s3Section,
  budget: Type.Optional(
    space({
      reload: 'live',
      description:
        'The most that the storage may take. Beyond it pushes are refused, and a cache evicts the content that was not requested for longest. Default: no limit but the reserve.'
    })
  ),
  reserve: space({
    default: '10%',
    reload: 'live',
    description:
      'The part of the filesystem that must stay free, whatever fills it. Below it pushes are refused and nothing more is cached. At 10% the kubelet begins to evict Pods.'
  }),
  inodeBudget: Type.Optional(inodes({ reload: 'live', description: 'Like budget, in files and directories.' })),
  inodeReserve: inodes({ default: '5%', reload: 'live', description: 'Like reserve, in inodes. At 5% the kubelet begins to evict Pods.' })
})
