import { type TString, Type } from 'typebox'
import {
  address,
  count,
  duration,
  type Effective,
  HOUR,
  hosts,
  names,
  optionalSection,
  path,
  type Setting,
  section,
  text
} from '../sections/kinds.ts'
import { logLevel } from '../sections/log.ts'
import { access, imagesRepoSetting } from '../sections/registry.ts'

const replica = Type.Object(
  {
    address: text({
      unit: 'host',
      expects: 'host or host:port such as 10.0.0.1:5001, port 1 to 65535',
      description: 'Where the replica listens.'
    }) as Setting<TString, string>,
    local: Type.Boolean({
      default: false,
      expects: 'true or false',
      description: 'It runs on this node, and is asked before all others.'
    })
  },
  { additionalProperties: false, expects: 'a replica such as { address: "10.0.0.1:5001" }', description: 'A replica.' }
)

const otherHosts = (description: string) => hosts({ expects: 'host or host:port, port 1 to 65535' }, { default: [], description })

const pool = Type.Object(
  {
    replicas: Type.Optional(
      Type.Array(replica, {
        minItems: 1,
        expects: 'a list of at least one replica such as { address: "10.0.0.1:5001" }',
        description: 'Registries of the cluster that hold the same content. Names and ns= are passed to them as they are.'
      })
    ),
    imagesRepo: Type.Optional(
      imagesRepoSetting({
        description: 'In place of replicas: the registry that agent.path stands for, with or without a path in it, as in mode Direct.'
      })
    ),
    ...access,
    tokenHosts: otherHosts(
      'Hosts that may be asked for tokens, besides the own host and port and the known token services of public registries.'
    ),
    redirectHosts: otherHosts(
      'Hosts that redirects may lead to although their address is private, loopback or link-local, such as an object store in the own network.'
    )
  },
  {
    additionalProperties: false,
    expects: 'a pool: a mapping with replicas or imagesRepo',
    description: 'Registries that have the content of a route.'
  }
)

const route = Type.Object(
  {
    names: names(
      { pattern: '^[A-Za-z0-9.-]+(:[0-9]{1,5})?$', expects: 'a host name with or without a port' },
      {
        minItems: 1,
        expects: 'a list of different registries as containerd gives them in ns=, at least one',
        description: 'The registries that the route is for, as containerd gives them in ns=. A request without ns= takes the first route.'
      }
    ),
    pools: Type.Array(pool, {
      minItems: 1,
      maxItems: 16,
      expects: 'a list of at least one pool',
      description: 'Asked in this order: the next one where a pool does not have the content, or cannot be asked.'
    })
  },
  {
    additionalProperties: false,
    expects: 'a route: a mapping with names and pools',
    description: 'Where the content of some registries comes from.'
  }
)

/** The table of all settings of the agent: see `settingsSchema`. */
export const agentSchema = Type.Object(
  {
    agent: Type.Object(
      {
        listen: address({
          default: '127.0.0.1:5001',
          reload: 'restart',
          description: 'Where containerd reaches the agent. Other than on loopback it requires agent.tls and agent.clients.'
        }),
        admin: address({
          default: '127.0.0.1:5003',
          reload: 'restart',
          description: 'Metrics, probes and status: read-only plain HTTP.'
        }),
        tls: optionalSection(
          'TLS 1.2 and newer on agent.listen. Files that change on disk are read again. May be left out on loopback.',
          {
            certificate: path({ description: 'The certificate chain in PEM, leaf first.' }),
            key: path({ description: 'The private key in PEM, without a passphrase.' })
          },
          { reload: 'restart' }
        ),
        clients: optionalSection(
          'The password that clients send (Basic), as containerd does by `header` in its hosts file. May be left out on loopback: then all are served.',
          {
            username: text({
              pattern: '^[^\\p{Cc}\\p{Cs}:]{1,255}$',
              expects: 'a user name of at most 255 characters, without colons and control characters',
              description: 'The user of all clients.'
            }),
            password: text({
              pattern: '^[^\\p{Cc}\\p{Cs}]{1,4096}$',
              secret: true,
              expects: 'a password: a text without control characters',
              description: 'The password of that user.'
            })
          },
          { reload: 'live' }
        ),
        path: text({
          pattern: '^[a-z0-9]+((\\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\\.|_|__|-+)[a-z0-9]+)*)*$',
          maxLength: 255,
          expects: 'a repository name of lower-case components',
          default: 'system/deckhouse',
          reload: 'backends',
          description: "The prefix of the repository names of the platform's images, which a pool with imagesRepo maps."
        }),
        routes: Type.Array(route, {
          minItems: 1,
          maxItems: 256,
          reload: 'backends',
          expects: 'a list of at least one route',
          description: 'The first route that has the name in ns= is taken. Any other name is answered 404 and never connected to.'
        }),
        connections: count({
          default: 4096,
          maximum: 1_000_000,
          reload: 'restart',
          description:
            'The most open connections to a port. With one more, the longest idle one is closed, or the new one refused if all are in use.'
        }),
        drain: duration({
          default: '25s',
          atMost: HOUR,
          reload: 'live',
          description: 'How long running transfers may continue after SIGTERM. A Pod is killed after 30s.'
        })
      },
      {
        additionalProperties: false,
        expects: 'a mapping of settings',
        description: 'The agent of a node: its ports, and where content comes from.'
      }
    ),
    log: section('The log, on standard output.', { level: logLevel('The level.') })
  },
  {
    additionalProperties: false,
    expects: 'a mapping of settings',
    title: 'Deckhouse registry agent',
    description: 'The settings of the agent.'
  }
)

/** The effective configuration of the agent: see `Config`. */
export type AgentSettings = Effective<typeof agentSchema>

/** A pool of the effective configuration. */
export type PoolSettings = AgentSettings['agent']['routes'][number]['pools'][number]
