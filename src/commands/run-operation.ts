import type { Config } from '../../config/schema.ts'
import { NotRunning, streamControl } from '../ports/control.ts'
import type { Failed, Operations } from '../ports/operations.ts'
import { type CommandOutput, showing } from './output.ts'

/** A tree that no server owns. */
export interface OfflineTree {
  tasks: Operations
  close(): Promise<void>
}

/** What a command has around it. */
export interface CommandContext {
  config: Config
  /** Opens the tree of the configuration, where no server runs. */
  openOffline: () => Promise<OfflineTree>
  output: CommandOutput
  /** Whoever started the command wants it to end. */
  signal: AbortSignal
}

/** The command line asks for something that there is not. */
export class WrongUse extends Error {
  override readonly name = 'WrongUse'
}

/** What the task in the other process was refused for; its name is that of the error there. */
class TaskFailed extends Error {
  constructor({ name, message }: Failed) {
    super(message)
    this.name = name
  }
}

/** An event of a task, as far as all of them agree. */
export type TaskEvent = { type: string } & Record<string, unknown>

type Asked<Task extends keyof Operations> = Omit<Parameters<NonNullable<Operations[Task]>>[0], 'signal'>

/** Has the running registry do a task, or does it here where none runs. */
async function* eventsOf<Task extends keyof Operations>(
  task: Task,
  asked: Asked<Task>,
  { config, openOffline, signal }: CommandContext
): AsyncGenerator<TaskEvent, void> {
  try {
    for await (const event of streamControl(config.server.control, {
      method: 'POST',
      path: `/upkeep/${task}`,
      body: asked,
      idleTimeoutMs: 0,
      signal
    })) {
      const { type } = event as TaskEvent
      if (type === 'failed') throw new TaskFailed(event as Failed)
      yield event as TaskEvent
    }
  } catch (error) {
    if (!(error instanceof NotRunning)) throw error
    yield* offlineEvents(task, asked, openOffline, { signal, absent: error })
  }
}

async function* offlineEvents<Task extends keyof Operations>(
  task: Task,
  asked: Asked<Task>,
  open: CommandContext['openOffline'],
  { signal, absent }: { signal: AbortSignal; absent: NotRunning }
): AsyncGenerator<TaskEvent, void> {
  const { tasks, close } = await open()
  try {
    const run = tasks[task] as ((asked: object) => AsyncIterable<object>) | undefined
    if (!run) throw new Error(`${absent.message}, and only a running registry can do this`)
    for await (const event of run({ ...asked, signal })) yield event as TaskEvent
  } finally {
    await close()
  }
}

/** Does a task and shows its events; resolves to the last one, which says how it ended. */
export async function longWork<Task extends keyof Operations>(
  task: Task,
  asked: Asked<Task>,
  textOf: (event: TaskEvent) => string | undefined,
  around: CommandContext
): Promise<TaskEvent> {
  let last: TaskEvent | undefined
  const show = showing(around.output, textOf)
  try {
    for await (const event of eventsOf(task, asked, around)) {
      show(event)
      last = event
    }
  } catch (error) {
    throw around.signal.aborted ? new Error('it was broken off; run it again to go on', { cause: error }) : error
  } finally {
    around.output.progress?.(undefined)
  }
  if (last?.type !== 'done') throw new Error('the registry ended before the work was done; run it again')
  return last
}
