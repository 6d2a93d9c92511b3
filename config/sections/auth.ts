import { type Static, type TUnsafe, Type } from 'typebox'
import { optionalSection, path, permissions, type Setting } from './kinds.ts'

type Roles = Record<string, Static<ReturnType<typeof permissions>>>

const roles = (description: string): Setting<TUnsafe<Roles>, Readonly<Record<string, Readonly<Roles[string]>>>> =>
  Type.Unsafe<Roles>({
    type: 'object',
    propertyNames: { minLength: 1, expects: 'the name of a user' },
    additionalProperties: permissions({}),
    default: {},
    expects: 'a mapping of user names to lists of actions',
    description
  })

/** Users and their permissions. */
export const authSection = optionalSection(
  'Users and permissions. Without this section every client may do everything, which is accepted on a loopback address only.',
  {
    users: optionalSection('Users with a password.', {
      file: path({ description: 'An htpasswd file with bcrypt passwords. A user listed twice has two valid passwords.' }),
      roles: roles(
        'The permissions of each user, by name: everywhere (pull), or in the repositories that patterns match ({ pull: ["system/deckhouse/**", "docker.io/library/*"] }). * is one component of a name; ** any number of them, also none, once at most. Patterns for registry.upstreams begin with the host, which no wildcard stands for. The common name of a verified client certificate is also such a name.'
      )
    }),
    anonymous: permissions({
      default: [],
      description: 'The permissions without credentials, in the form of the roles; pull includes the catalog of what may be pulled.'
    })
  },
  { reload: 'live' }
)
