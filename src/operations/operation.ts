import type { Storage } from '../../storage/storage.ts'
import type { GcEvent } from '../content/gc/run.ts'
import type { WhyContext } from '../why/resolve.ts'
import type { ScrubDone, ScrubEvent } from './events.ts'
import type { Fetcher } from './fetch.ts'
import type { InputMembers } from './input.ts'
import type { Tree } from './tree.ts'

/** An operation. The control socket, the command line and every later interface run it by this description alone. */
interface Description<Input, Event extends object, Context> {
  /** Where the control socket offers it. */
  readonly path: string
  /**
   * The body of the control socket's response: one event a line, and `failed` after an error; or the first event alone.
   */
  readonly answer: 'events' | 'document'
  readonly input: InputMembers<Input>
  /** Whether it may change what is stored, so that the audit stream tells of it. */
  readonly changes?: true
  /**
   * Yields what it does, event by event. It may be interrupted at any time, by the signal or by a consumer that
   * returns, and be run again. Throws an error whose `name` says its kind; the control socket passes name and message
   * on.
   */
  run(input: Input, context: Context, signal: AbortSignal): AsyncIterable<Event>
}

/** An operation that a command can also run by itself, over a storage that no registry owns. */
export interface StorageOperation<Input, Event extends object> extends Description<Input, Event, StorageContext> {
  readonly needs: 'storage'
}

/** An operation that only a running registry can do. */
export interface RegistryOperation<Input, Event extends object> extends Description<Input, Event, RegistryContext> {
  readonly needs: 'registry'
}

/** An operation on two storages, neither of which a registry owns: it has no path on the control socket. */
export interface CopyOperation<Event extends object> extends Omit<Description<object, Event, CopyContext>, 'path' | 'answer'> {
  readonly needs: 'two storages'
}

/** An operation that the control socket offers. */
export type Operation<Input = object, Event extends object = object> = StorageOperation<Input, Event> | RegistryOperation<Input, Event>

/** What an operation works on: a storage that this process owns. */
export interface StorageContext {
  tree: Tree
  /** Garbage collection by the settings of the process. */
  collect(options: { dryRun?: true; signal: AbortSignal }): AsyncIterable<GcEvent>
  /** Called with each event of a scrub. */
  reportScrub(event: ScrubEvent): void
  /** Called when a scrub of everything, which began at `began` (ms since the epoch), has ended. */
  recordScrub(began: number, done: ScrubDone): Promise<void>
}

/** What a running registry has besides. */
export interface RegistryContext extends StorageContext {
  fetcher: Fetcher
  /** The configuration and the upstreams in force. */
  why(): WhyContext
}

/** The two storages of a copy. */
export interface CopyContext {
  from: Storage
  to: Storage
}

/** The last line of an answer that could not be completed: its head was sent before the error. */
export interface OperationFailed {
  type: 'failed'
  /** The kind of the error, as its class is called. */
  name: string
  message: string
}
