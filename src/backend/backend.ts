import type { Sink } from '../oci/sink.ts'
import type { Source } from '../oci/source.ts'

/** How the process answers (registry.mode). */
export type Mode = 'Direct' | 'Proxy' | 'Local'

/** One per mode. The API asks for it once a request, so that a switch of modes never splits one. */
export interface Backend extends Source {
  readonly mode: Mode
  /** Present where content can be pushed; without it the API answers UNSUPPORTED. */
  readonly sink?: Sink
}
