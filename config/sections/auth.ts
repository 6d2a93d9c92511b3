import { type Static, type TUnsafe, Type } from 'typebox'
import { duration, HOUR, names, optionalSection, path, paths, permissions, type Setting, text } from './kinds.ts'

type Roles = Record<string, Static<ReturnType<typeof permissions>>>

const roles = (name: string, description: string): Setting<TUnsafe<Roles>, Readonly<Record<string, Readonly<Roles[string]>>>> =>
  Type.Unsafe<Roles>({
    type: 'object',
    propertyNames: { minLength: 1, expects: name },
    additionalProperties: permissions({}),
    default: {},
    expects: 'a mapping of names to lists of actions',
    description
  })

/** Users and their permissions. */
export const authSection = optionalSection(
  'Users and permissions. Without this section every client may do everything, which is accepted on a loopback address only.',
  {
    users: optionalSection('Users with a password.', {
      file: path({ description: 'An htpasswd file with bcrypt passwords. A user listed twice has two valid passwords.' }),
      roles: roles(
        'the name of a user',
        'The permissions of each user, by name: everywhere (pull), or in the repositories that patterns match ({ pull: ["system/deckhouse/**", "docker.io/library/*"] }). * is one component of a name; ** any number of them, also none, once at most. metrics is for /metrics and /status of the admin port. Patterns for registry.upstreams begin with the host, which no wildcard stands for. The common name of a verified client certificate is also such a name.'
      )
    }),
    tokens: optionalSection(
      'Bearer tokens that the registry issues on /v2/token, so that clients send a password once and not with each request. Basic stays.',
      {
        keys: paths(
          { description: 'A key in PEM on the curve P-256.' },
          {
            minItems: 1,
            maxItems: 8,
            description:
              'The keys, the same on all replicas. The first is a private key and signs (ES256), all verify. To rotate: add the new key last everywhere, then move it to the front, and remove the old one after the lifetime. Files that change on disk are read again.'
          }
        ),
        service: text({
          pattern: '^[A-Za-z0-9][A-Za-z0-9._:/-]{0,127}$',
          expects: 'a name of letters, digits and . _ : / -',
          default: 'registry',
          description: 'The name of this registry in its tokens, the same on all replicas: their issuer and audience.'
        }),
        lifetime: duration({
          default: '15m',
          atLeast: 60_000,
          atMost: HOUR,
          description:
            'How long a token counts. A removed user, one with another password, and one with fewer permissions lose at once all the same.'
        }),
        realm: Type.Optional(
          text({
            pattern: '^https?://[A-Za-z0-9.:\\[\\]_-]+/v2/token$',
            maxLength: 300,
            expects: 'a URL that ends with /v2/token',
            description: 'Where clients get tokens. Default: on the host that the request names, by https if it came over TLS.'
          })
        )
      }
    ),
    serviceAccounts: optionalSection(
      'Service accounts of Kubernetes, or other identities of OpenID Connect, by the tokens that they have for this registry: as Bearer, or as the password of Basic. A token older than two days is refused.',
      {
        issuers: names(
          { pattern: '^https?://[^\\s"]{1,500}$', expects: 'the URL of an issuer' },
          {
            minItems: 1,
            maxItems: 8,
            description: 'The issuers of the tokens (iss), as kube-apiserver has them in --service-account-issuer.'
          }
        ),
        audience: text({
          pattern: '^[\\x21-\\x7e]{1,500}$',
          expects: 'a text without spaces',
          description: 'What the tokens have to be made for (aud). A token for another audience, such as the API server, is refused.'
        }),
        keys: Type.Optional(
          paths(
            { description: 'Public keys in PEM, or a JSON Web Key Set.' },
            {
              minItems: 1,
              maxItems: 8,
              description:
                'Files with the public keys of the issuers, such as /etc/kubernetes/pki/sa.pub. Files that change on disk are read again.'
            }
          )
        ),
        keysURL: Type.Optional(
          text({
            pattern: '^https://[^\\s"@]{1,500}$',
            expects: 'a URL with https',
            description: 'In place of keys: the URL of a JSON Web Key Set, such as https://kubernetes.default.svc/openid/v1/jwks.'
          })
        ),
        ca: Type.Optional(path({ description: 'The authorities of keysURL in PEM. Default: those of the system.' })),
        token: Type.Optional(path({ description: 'A file with the bearer token that keysURL requires.' })),
        refresh: duration({
          default: '10m',
          atLeast: 10_000,
          atMost: 24 * HOUR,
          description:
            'How often keysURL is read, beside at once when a token names an unknown key. Its keys count for a day while it cannot be read.'
        }),
        user: text({
          pattern: '^[^:\\x00-\\x1f\\x7f]{1,64}$',
          expects: 'the name of a user, without a colon',
          default: 'serviceaccount',
          description: 'The user of Basic whose password is a token, for clients that only know Basic. No other user may have this name.'
        }),
        roles: roles(
          'the subject of a token',
          'The permissions by the subject of the token (sub): system:serviceaccount:NAMESPACE:NAME. In each part between the colons one * stands for any characters. All roles that match add up.'
        )
      }
    ),
    anonymous: permissions({
      default: [],
      description: 'The permissions without credentials, in the form of the roles; pull includes the catalog of what may be pulled.'
    })
  },
  { reload: 'live' }
)
