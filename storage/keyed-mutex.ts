import { createSemaphore, type Semaphore } from './semaphore.ts'

/** Runs a task when all earlier ones have ended, whether or not they failed. */
export type Mutex = Semaphore

/**
 * Runs a task when all earlier ones with the same key have ended, whether or not they failed. Never hold it while a
 * body is copied.
 */
export type KeyedMutex = <T>(key: string, task: () => Promise<T>) => Promise<T>

/** A mutex: tasks run one at a time, in the order of their calls. If it is free, the task starts within the call. */
export function createMutex(): Mutex {
  return createSemaphore(1)
}

/** A mutex per key. Keys without a task take no memory. */
export function createKeyedMutex(): KeyedMutex {
  const entries = new Map<string, { mutex: Mutex; tasks: number }>()
  return async (key, task) => {
    const entry = entries.get(key) ?? { mutex: createMutex(), tasks: 0 }
    entries.set(key, entry)
    entry.tasks++
    try {
      return await entry.mutex(task)
    } finally {
      if (--entry.tasks === 0) entries.delete(key)
    }
  }
}
