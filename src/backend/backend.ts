import type { Mode } from '../../config/schema.ts'
import type { Sink } from '../oci/sink.ts'
import type { Source } from '../oci/source.ts'

/**
 * Answers requests in one mode. The API looks it up once a request, so that a switch of modes never splits a request.
 */
export interface Backend extends Source {
  /** `bundle`: it answers from the archives of a bundle, and is no mode of a registry. */
  readonly mode: Mode | 'bundle'
  /** The host of the upstream that `ns=` selects it for; absent for this registry itself. */
  readonly namespace?: string | undefined
  /** Absent where nothing can be pushed: then the API answers UNSUPPORTED. */
  readonly sink?: Sink
}
