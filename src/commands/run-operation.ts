import type { Config } from '../../config/schema.ts'
import type { Operation, OperationFailed, StorageContext } from '../operations/operation.ts'
import type { Operations } from '../operations/operations.ts'
import { callControl, NotRunning, streamControl } from '../ports/control-client.ts'
import { localUser, type RecordOperation, recordedEvents } from '../ports/operation-record.ts'
import { type CommandOutput, createEventPrinter } from './output.ts'

/** A storage that no registry owns, opened by a command. */
export interface OpenedOffline {
  context: StorageContext
  record: RecordOperation
  close(): Promise<void>
}

/** What every command that runs an operation is given. */
export interface CommandContext {
  config: Config
  operations: Operations
  /** Opens the storage of the configuration, where no registry runs. */
  openOffline: () => Promise<OpenedOffline>
  output: CommandOutput
  /** Aborted when the user interrupts the command. */
  signal: AbortSignal
}

/** The command line asks for something that cannot be; exit code 2. */
export class WrongUse extends Error {
  override readonly name = 'WrongUse'
}

/** The error of an operation in the other process; its name is that of the error there. */
class RemoteError extends Error {
  constructor({ name, message }: OperationFailed) {
    super(message)
    this.name = name
  }
}

// `why` gives up after a minute of requests upstream, and computes digests for a while beside them.
const documentTimeoutMs = 120_000

/**
 * Has the running registry do an operation, or does it here where none runs. Throws `NotRunning` where only a registry
 * can.
 */
export async function* eventsOf<Input extends object, Event extends object>(
  operation: Operation<Input, Event>,
  input: Input,
  { config, signal, openOffline }: Pick<CommandContext, 'config' | 'signal' | 'openOffline'>
): AsyncGenerator<Event, void> {
  try {
    yield* remoteEvents(config.server.control, operation, input, signal)
  } catch (error) {
    if (!(error instanceof NotRunning)) throw error
    if (operation.needs === 'registry') throw new NotRunning(`${error.message}, and only a running registry can do this`, { cause: error })
    const { context, record, close } = await openOffline()
    try {
      const events = operation.run(input, context, signal)
      yield* recordedEvents(operation, input, { events, record, sender: localUser() })
    } finally {
      await close()
    }
  }
}

async function* remoteEvents<Input extends object, Event extends object>(
  socketPath: string,
  { path, answer }: Operation<Input, Event>,
  body: Input,
  signal: AbortSignal
): AsyncGenerator<Event, void> {
  if (answer === 'document') {
    yield (await callControl(socketPath, 'POST', path, body, documentTimeoutMs)) as Event
    return
  }
  // An operation takes as long as it takes.
  for await (const event of streamControl(socketPath, { method: 'POST', path, body, idleTimeoutMs: 0, signal })) {
    if (isFailed(event)) throw new RemoteError(event)
    yield event as Event
  }
}

function isFailed(event: unknown): event is OperationFailed {
  return (event as { type?: unknown }).type === 'failed'
}

/** Prints events as they come; resolves to the last one. */
export async function printEvents<Event extends { type: string }>(
  events: AsyncIterable<Event>,
  textOf: (event: Event) => string | undefined,
  { output, signal }: Pick<CommandContext, 'output' | 'signal'>
): Promise<Event | undefined> {
  let last: Event | undefined
  const print = createEventPrinter(output, textOf)
  try {
    for await (const event of events) {
      print(event)
      last = event
    }
  } catch (error) {
    throw signal.aborted ? new Error('interrupted: run it again to resume', { cause: error }) : error
  } finally {
    output.progress?.(undefined)
  }
  return last
}

/** Does an operation and prints its events; resolves to the last one, `done`. */
export async function runOperation<Input extends object, Event extends { type: string }>(
  operation: Operation<Input, Event>,
  input: Input,
  textOf: (event: Event) => string | undefined,
  context: CommandContext
): Promise<Extract<Event, { type: 'done' }>> {
  const last = await printEvents(eventsOf(operation, input, context), textOf, context)
  if (!isDone(last)) throw new Error('the registry ended before the work was done; run it again')
  return last
}

function isDone<Event extends { type: string }>(event: Event | undefined): event is Extract<Event, { type: 'done' }> {
  return event?.type === 'done'
}
