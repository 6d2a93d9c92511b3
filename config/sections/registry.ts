import { type TString, Type } from 'typebox'
import { imagesRepoPattern } from '../values/hosts.ts'
import { type Annotations, certificates, duration, entries, hosts, oneOf, optionalSection, type Setting, section, text } from './kinds.ts'

/** How the registry answers, in the ModuleConfig's words. */
export type Mode = 'Direct' | 'Proxy' | 'Local'
/** The images that the upstream must have before a change is accepted: all critical ones, or Deckhouse's own alone. */
export type CheckMode = 'Default' | 'Relax'
/** Whether content of a further upstream is cached, or only passes through. */
export type NamespacePolicy = 'cache' | 'transit'
/** By which request a cached tag is compared with the upstream; `auto` depends on the host. */
export type Revalidation = 'auto' | 'head' | 'get'

// It must fit into a header. The limits of Go and curl are far higher.
const secretText = '^[^\\p{Cc}\\p{Cs}]{0,4096}$'

const account = {
  license: Type.Optional(
    text({
      pattern: secretText,
      secret: true,
      expects: 'a license: a text without control characters',
      description: 'Short for the user license-token with this password. Excludes username and password.'
    })
  ),
  username: Type.Optional(
    text({
      pattern: '^[^\\p{Cc}\\p{Cs}:]{0,255}$',
      expects: 'a user name of at most 255 characters, without colons and control characters',
      description: 'The user at the upstream. Without a user and a license, requests are anonymous.'
    })
  ),
  password: Type.Optional(
    text({
      pattern: secretText,
      secret: true,
      expects: 'a password: a text without control characters',
      description: 'The password of that user.'
    })
  )
}

/** How an upstream is reached, except for its addresses. */
export const access = {
  scheme: oneOf(['HTTP', 'HTTPS'], { default: 'HTTPS', description: 'The protocol of the upstream.' }),
  ...account,
  ca: Type.Optional(certificates("The authorities, in PEM, that verify the upstream's certificate. Empty: those of the system."))
}

const upstream = {
  ...access,
  endpoints: Type.Optional(
    hosts(
      { expects: 'host or host:port such as 10.0.0.1:5001, port 1 to 65535' },
      {
        minItems: 1,
        description:
          'The addresses to connect to instead of the host: mirrors or replicas that hold the same content under the same path, best first.'
      }
    )
  )
}

const revalidate = oneOf<Revalidation>(['auto', 'head', 'get'], {
  default: 'auto',
  description:
    'How a cached tag is compared with the upstream. get: by one conditional GET. head: by a HEAD, and a GET only if the tag has moved, for a registry that counts each GET of a manifest as a pull. auto: head for Docker Hub, get for all others.'
})

/** A registry and a path in it. */
export const imagesRepoSetting = (annotations: Annotations): Setting<TString, { readonly host: string; readonly path: string }> =>
  text({
    pattern: imagesRepoPattern,
    minLength: 1,
    unit: 'imagesRepo',
    expects: 'host[:port][/path] such as registry.example.org/deckhouse/ee, port 1 to 65535, no . or .. in the path',
    ...annotations
  })

const imagesRepo = imagesRepoSetting({
  default: 'registry.deckhouse.io/deckhouse/ce',
  description: 'The registry of the images, with or without a path in it.'
})

const checkMode = oneOf<CheckMode>(['Default', 'Relax'], {
  default: 'Default',
  reload: 'live',
  description: "The images that the upstream must have: Default: all critical ones; Relax: Deckhouse's own alone, to change editions."
})

const ttl = duration({
  pattern: '^(?:(\\d+)h)?(?:(\\d+)m)?(?:(\\d+)s)?$',
  default: '168h',
  reload: 'live',
  expects: 'a duration in hours, minutes and seconds such as 168h or 1h30m',
  description: 'Cached content that was not requested for so long may be removed; at least 5m.'
})

/** The mode of the registry, and its upstreams. */
export const registrySection = section(
  'The mode of the registry, as in settings.registry of ModuleConfig deckhouse, and further upstreams.',
  {
    mode: oneOf<Mode>(['Direct', 'Proxy', 'Local'], {
      default: 'Local',
      refuses: { Unmanaged: 'with Unmanaged the cluster goes without this registry' },
      description:
        'Direct: requests pass through to the upstream. Proxy: the same, and pulled content is cached. Local: images are pushed here; there is no upstream.'
    }),
    direct: optionalSection('The upstream of mode Direct.', { imagesRepo, ...upstream, checkMode }),
    proxy: optionalSection('The upstream of mode Proxy.', { imagesRepo, ...upstream, checkMode, ttl, revalidate }),
    upstreams: entries(
      { unit: 'host', expects: 'a registry as containerd gives it in ns=: host or host:port, port 1 to 65535' },
      Type.Object(
        {
          ...upstream,
          revalidate,
          policy: oneOf<NamespacePolicy>(['cache', 'transit'], {
            default: 'cache',
            description: 'cache: pulled content is cached under upstreams/<host>/. transit: requests pass through.'
          })
        },
        { additionalProperties: false, expects: 'a mapping of settings', description: 'A further registry.' }
      ),
      {
        default: {},
        description:
          'Further registries, by the host that containerd sends as ns=. A host that is not listed is unknown and never contacted.'
      }
    )
  },
  { reload: 'backends' }
)
