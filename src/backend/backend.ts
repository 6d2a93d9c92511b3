import type { Mode } from '../../config/schema.ts'
import type { Sink } from '../oci/sink.ts'
import type { Source } from '../oci/source.ts'

/** One per mode. The API asks for it once a request, so that a switch of modes never splits one. */
export interface Backend extends Source {
  readonly mode: Mode
  /** Present where content can be pushed; without it the API answers UNSUPPORTED. */
  readonly sink?: Sink
}
