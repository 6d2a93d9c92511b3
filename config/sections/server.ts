import { Type } from 'typebox'
import { address, duration, HOUR, names, optionalSection, path, section, text } from './kinds.ts'

const tlsFiles = {
  certificate: path({ description: 'The certificate chain in PEM, leaf first.' }),
  key: path({ description: 'The private key in PEM, without a passphrase.' }),
  clientCA: Type.Optional(
    path({ description: 'The authorities of client certificates. A certificate that a client presents is verified; none is required.' })
  ),
  clientCRL: Type.Optional(
    path({
      description:
        'Certificate revocation lists in PEM, one of each authority in clientCA. A revoked certificate is refused, also on connections that are open. When a list has expired, every certificate of its authority is refused.'
    })
  )
}

/** The ports and their protection. */
export const serverSection = section('The ports and their protection.', {
  listen: address({
    default: '127.0.0.1:5001',
    reload: 'restart',
    description:
      'The registry port. Other than on loopback it requires the auth section, so that an open registry is always a written decision.'
  }),
  names: names(
    { pattern: '^[A-Za-z0-9.-]+(:[0-9]{1,5})?$', expects: 'a host name with or without a port' },
    {
      default: ['registry.d8-system.svc:5001'],
      reload: 'backends',
      description: 'The names of this registry: a pull whose ns= is one of them means the registry itself and not an upstream.'
    }
  ),
  path: text({
    pattern: '^[a-z0-9]+((\\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\\.|_|__|-+)[a-z0-9]+)*)*$',
    maxLength: 255,
    expects: 'a repository name of lower-case components',
    default: 'system/deckhouse',
    reload: 'backends',
    description: "The prefix of the repository names of the platform's images, the same in every mode."
  }),
  tls: optionalSection('TLS 1.2 and newer on the registry port. Files that change on disk are read again.', tlsFiles, {
    reload: 'restart'
  }),
  admin: address({
    default: '127.0.0.1:5002',
    reload: 'restart',
    description:
      "Metrics, probes and status, read-only. To listen on a node's address, for a Prometheus elsewhere, give it adminTLS and a user with the permission metrics. As soon as auth grants metrics to any user, /metrics and /status require it; the probes stay open."
  }),
  adminTLS: optionalSection('TLS on the admin port. Files that change on disk are read again.', tlsFiles, { reload: 'restart' }),
  control: Type.Optional(
    path({
      reload: 'restart',
      description:
        'The Unix socket of the commands, mode 0600. Default: <root>/.registry/control.sock, so that the owner of the root owns it.'
    })
  ),
  forwarders: names(
    { pattern: '^.{1,64}$', expects: 'the common name of a client certificate' },
    {
      default: [],
      reload: 'live',
      description: 'The common names of client certificates whose X-Forwarded-For is trusted. From other clients it could be forged.'
    }
  ),
  drain: duration({
    default: '25s',
    atMost: HOUR,
    reload: 'live',
    description: 'How long running transfers may continue after SIGTERM. A Pod is killed after 30s.'
  })
})
