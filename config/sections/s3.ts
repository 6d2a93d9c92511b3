import { type TUnsafe, Type } from 'typebox'
import { bytes, certificates, MIB, optionalSection, path, type Setting, text } from './kinds.ts'

const line = '^[^\\p{Cc}\\p{Cs}]{1,4096}$'

const redirect = (description: string): Setting<TUnsafe<'off' | 'always' | { over: string | number }>, { readonly over: number } | null> =>
  Type.Unsafe({
    type: ['string', 'object'],
    pattern: '^(off|always)$',
    unit: 'redirect',
    properties: { over: bytes({ description: 'Only blobs of more bytes than this.' }) },
    required: ['over'],
    additionalProperties: false,
    default: 'off',
    expects: 'off, always, or a mapping such as over: 64MiB',
    description
  })

/** A bucket that holds the storage. */
export const s3Section = optionalSection(
  'A bucket of an S3-compatible service in the layout of CNCF Distribution, instead of filesystem. Several registries may use it at once.',
  {
    bucket: text({
      pattern: '^[A-Za-z0-9][A-Za-z0-9._:-]{1,254}$',
      expects: 'the name of a bucket',
      description: 'The bucket. It must exist.'
    }),
    region: text({
      pattern: '^[A-Za-z0-9_-]{1,64}$',
      expects: 'a region such as eu-central-1',
      default: 'us-east-1',
      description: 'The region of the bucket. Services without regions take the default.'
    }),
    endpoint: Type.Optional(
      text({
        pattern: '^https?://[A-Za-z0-9._:\\[\\]-]+/?$',
        unit: 'endpoint',
        expects: 'a URL without a path such as https://s3.example.org:9000',
        description: "The URL of the service. Default: AWS's endpoint of the region."
      })
    ),
    forcePathStyle: Type.Boolean({
      default: false,
      expects: 'true or false',
      description: "Put the bucket into the path of URLs instead of the host name, which most services other than AWS's need."
    }),
    prefix: Type.Optional(
      text({
        pattern: '^(?!\\.{1,2}(/|$))[A-Za-z0-9._-]+(/(?!\\.{1,2}(/|$))[A-Za-z0-9._-]+)*$',
        expects: 'a path such as clusters/one, without slashes around it',
        description: 'The prefix of all keys, for a bucket that also holds other data.'
      })
    ),
    credentials: optionalSection(
      'A pair of keys, or a file with one. Without this section the environment, the AWS files and the instance provide them, as for all AWS tools.',
      {
        accessKeyId: Type.Optional(text({ pattern: line, expects: 'an access key', description: 'The access key. Excludes file.' })),
        secretAccessKey: Type.Optional(
          text({
            pattern: line,
            secret: true,
            expects: 'a secret key: a text without control characters',
            description: 'The secret key of that access key.'
          })
        ),
        file: Type.Optional(
          path({
            description:
              'A file with aws_access_key_id, aws_secret_access_key and optionally aws_session_token. It is read again regularly, so that keys can be rotated without a restart.'
          })
        )
      }
    ),
    ca: Type.Optional(certificates("The authorities, in PEM, that verify the service's certificate, in addition to the public ones.")),
    redirect: redirect(
      'Whether clients fetch blobs directly from the service, by a URL that is valid for some minutes. They must reach it under the name in endpoint.'
    ),
    partBytes: bytes({
      default: '16MiB',
      atLeast: 5 * MIB,
      atMost: 1024 * MIB,
      expects: 'a number of bytes such as 16MiB, from 5MiB to 1GiB',
      description: 'The size of the parts in which large blobs are uploaded.'
    }),
    spool: path({
      default: '/var/tmp/deckhouse-registry',
      expects: 'the path of a directory',
      description: 'The directory of bytes on their way to the bucket. Nothing in it has to survive a restart.'
    }),
    spoolBytes: bytes({
      default: '4GiB',
      atLeast: 64 * MIB,
      expects: 'a number of bytes such as 4GiB, at least 64MiB',
      description:
        'The most that the spool takes. A blob that is being cached needs space for all of itself, else it passes through uncached; each upload may take some MiB more.'
    })
  },
  { reload: 'restart' }
)
