import { type Static, Type } from 'typebox'
import { certificates, entries, oneOf, optionalSection, path, text } from '../sections/kinds.ts'
import { registrySection } from '../sections/registry.ts'

/** What a node is for. Control-plane nodes have a replica of the registry. */
export type NodeRole = 'control-plane' | 'worker'
/** Where a node's images come from, in the ModuleConfig's words. */
export type NodeMode = 'Direct' | 'Proxy' | 'Local' | 'Unmanaged'

const { direct, proxy } = registrySection.properties

// RFC 1123, as the names of Kubernetes nodes.
const nodeName = text({
  pattern: '^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*$',
  maxLength: 253,
  expects: 'the name of a node: lower-case letters, digits, - and .',
  description: 'The name of the node in Kubernetes.'
})

const nodeAddress = text({
  pattern: '^[0-9a-fA-F:.]{2,45}$',
  expects: 'an IP address such as 10.0.0.1',
  description: 'The internal IP address of the node.'
})

const user = Type.Object(
  {
    password: Type.Optional(
      text({
        pattern: '^[^\\p{Cc}\\p{Cs}]{1,72}$',
        secret: true,
        expects: 'a password of 1 to 72 characters without control characters',
        description: 'The password.'
      })
    ),
    passwordHash: Type.Optional(
      text({
        pattern: '^\\$2[aby]\\$(0[4-9]|1[0-5])\\$[./A-Za-z0-9]{53}$',
        secret: true,
        expects: 'a bcrypt string with a cost of 4 to 15',
        description: 'The bcrypt string of the password; without it, it is made of the password.'
      })
    ),
    previousHash: Type.Optional(
      text({
        pattern: '^\\$2[aby]\\$(0[4-9]|1[0-5])\\$[./A-Za-z0-9]{53}$',
        secret: true,
        expects: 'a bcrypt string with a cost of 4 to 15',
        description: 'The bcrypt string of an earlier password that still counts while the nodes change over.'
      })
    )
  },
  { additionalProperties: false, expects: 'a mapping of settings', description: 'A user of the replicas.' }
)

/** The wanted state of one node, as `registry node --config` reads it. */
export const wantedSchema = Type.Object(
  {
    node: Type.Object(
      {
        name: nodeName,
        address: nodeAddress,
        role: oneOf<NodeRole>(['control-plane', 'worker'], {
          description: 'control-plane: with a replica of the registry. worker: without.'
        })
      },
      { additionalProperties: false, expects: 'name, address and role of this node', description: 'This node.' }
    ),
    mode: oneOf<NodeMode>(['Direct', 'Proxy', 'Local', 'Unmanaged'], { description: 'As in settings.registry of ModuleConfig deckhouse.' }),
    version: Type.Optional(
      text({
        pattern: '^[0-9A-Za-z._-]{1,128}$',
        expects: 'a version of letters, digits and . _ -',
        description: 'What the wanted state is called; shown by status.'
      })
    ),
    direct,
    proxy,
    unmanaged: optionalSection('The upstream of mode Unmanaged. Without it nothing of the registry stays on the node.', direct.properties),
    replicas: Type.Array(
      Type.Object({ name: nodeName, address: nodeAddress }, { additionalProperties: false, expects: 'name and address of a node' }),
      { default: [], maxItems: 9, expects: 'a list of at most 9 nodes', description: 'The control-plane nodes, each with a replica.' }
    ),
    balancer: oneOf(['agent', 'hosts'], {
      default: 'agent',
      description: 'agent: containerd asks the agent on its node, which knows the replicas. hosts: containerd is given all replicas.'
    }),
    rewrite: oneOf(['agent', 'containerd'], {
      default: 'agent',
      description: "By what the path of the upstream is put in place in Direct: the agent, or Deckhouse's patched containerd."
    }),
    users: entries({ pattern: '^[^\\p{Cc}\\p{Cs}:]{1,255}$', expects: 'the name of a user, without colons and control characters' }, user, {
      default: {},
      description:
        'The users of the replicas. rw and mirror-pusher may do everything, all others pull. ro is by whom the nodes pull; its password is required in Proxy and Local.'
    }),
    pki: Type.Object(
      {
        ca: Type.Optional(certificates('The authorities of the replicas, in PEM. Without it the only replica makes one of its own.')),
        caKey: Type.Optional(
          text({
            secret: true,
            pattern: '^-----BEGIN [A-Z ]*PRIVATE KEY-----',
            maxLength: 16_384,
            expects: 'a private key in PEM',
            description: 'The key of the first of these authorities, by which a control-plane node issues the certificate of its replica.'
          })
        )
      },
      { additionalProperties: false, default: {}, expects: 'a mapping of settings', description: 'Who vouches for the replicas.' }
    ),
    image: optionalSection('The image of the registry. Required where static pods run.', {
      reference: text({
        pattern: '^[0-9A-Za-z][0-9A-Za-z._:/@-]{0,510}$',
        expects: 'the reference of an image, with host and tag or digest',
        description: 'The name of the image in containerd.'
      }),
      archive: Type.Optional(
        path({
          expects: 'the path of an archive of the image',
          description: 'From which the image is imported, and again when the kubelet has removed it. It stays on the node.'
        })
      )
    })
  },
  { additionalProperties: false, expects: 'a mapping of settings', title: 'Wanted state of a node' }
)

/** The wanted state in the notation of the file, with all defaults. */
export type WantedSettings = Static<typeof wantedSchema>
