import { Type } from 'typebox'
import { bytes, MIB, optionalSection, path, text } from './kinds.ts'

const line = '^[^\\p{Cc}\\p{Cs}]{1,4096}$'

/** A bucket as the place where the bytes rest. */
export const s3Section = optionalSection(
  'A bucket of an S3-compatible service in the layout of CNCF Distribution, in place of filesystem. Any number of registries may use it at once.',
  {
    bucket: text({
      pattern: '^[A-Za-z0-9][A-Za-z0-9._:-]{1,254}$',
      expects: 'the name of a bucket',
      description: 'The bucket; it is not created.'
    }),
    region: text({
      pattern: '^[A-Za-z0-9_-]{1,64}$',
      expects: 'a region such as eu-central-1',
      default: 'us-east-1',
      description: 'Where the bucket lies. Services without regions take the default.'
    }),
    endpoint: Type.Optional(
      text({
        pattern: '^https?://[A-Za-z0-9._:\\[\\]-]+/?$',
        expects: 'a URL without a path such as https://s3.example.org:9000',
        description: "Where the service is. Default: AWS's endpoint of the region."
      })
    ),
    forcePathStyle: Type.Boolean({
      default: false,
      expects: 'true or false',
      description: "Whether the bucket stands in the path of URLs and not in the name of the host, as most services but AWS's want it."
    }),
    prefix: Type.Optional(
      text({
        pattern: '^(?!\\.{1,2}(/|$))[A-Za-z0-9._-]+(/(?!\\.{1,2}(/|$))[A-Za-z0-9._-]+)*$',
        expects: 'a path such as clusters/one, without slashes around it',
        description: 'What stands before every key, for a bucket that holds other things too.'
      })
    ),
    credentials: optionalSection(
      'Who asks: a pair of keys or a file. Without this section the environment, the files and the instance say so, as for all tools of AWS.',
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
              'A file with aws_access_key_id, aws_secret_access_key and maybe aws_session_token; read again all the time, so that they can be rotated without a restart.'
          })
        )
      }
    ),
    ca: Type.Optional(
      text({
        unit: 'certificates',
        orFile: true,
        expects: 'certificates in PEM (X.509) and nothing else',
        description: "Authorities that the service's certificate is verified with, in PEM, beside the public ones."
      })
    ),
    redirect: Type.Unsafe<'off' | 'always' | { over: string | number }>({
      type: ['string', 'object'],
      pattern: '^(off|always)$',
      properties: { over: bytes({ description: 'Only blobs with more bytes than this.' }) },
      required: ['over'],
      additionalProperties: false,
      default: 'off',
      expects: 'off, always, or a mapping such as over: 64MiB',
      description:
        'Whether clients fetch blobs from the service themselves, by a URL that is valid for some minutes. They have to reach it under the name in endpoint.'
    }),
    partBytes: bytes({
      default: '16MiB',
      atLeast: 5 * MIB,
      atMost: 1024 * MIB,
      expects: 'a number of bytes such as 16MiB, from 5MiB to 1GiB',
      description: 'The size of the parts in which large blobs are sent.'
    }),
    spool: path({
      default: '/var/tmp/deckhouse-registry',
      expects: 'the path of a directory',
      description: 'Where bytes rest that are on their way to the bucket. Nothing in it has to survive a restart.'
    }),
    spoolBytes: bytes({
      default: '4GiB',
      atLeast: 64 * MIB,
      expects: 'a number of bytes such as 4GiB, at least 64MiB',
      description:
        'How much of it is used. A blob that is fetched into the cache needs room for all of itself, else it passes through; each upload may take some MiB beyond it.'
    })
  }
)
