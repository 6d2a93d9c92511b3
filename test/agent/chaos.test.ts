// Replicas are killed, frozen and cut off in the middle of a layer, at random moments, two of three at once. The title
// says how to repeat a run.
import { inOwnNetwork } from './network.ts'

await inOwnNetwork(import.meta.filename, () => import('./chaos.ts'))
