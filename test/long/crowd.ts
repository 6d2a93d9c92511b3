import { fork } from 'node:child_process'
import { once } from 'node:events'
import type { Test } from 'tap'
import { Client } from './client.ts'
import { type Image, pullImage, pushImage } from './images.ts'
import { Random } from './random.ts'

/** What a crowd did until it was told to stop. */
export interface CrowdDone {
  pulls: number
  pushes: number
  images: Image[]
  /** The first that failed. */
  failure?: string
}

interface Task {
  address: string
  name: string
  images: Image[]
  pulling: number
  pushing: number
}

/** Clients in a process of their own, which pull and push without a pause, so that what is measured elsewhere is not theirs. Resolves when they have begun. */
export async function startCrowd(t: Test, task: Task): Promise<{ stop(): Promise<CrowdDone> }> {
  // What tap gives its own processes would be run there, too.
  const child = fork(import.meta.filename, [], { execArgv: [], env: { ...process.env, NODE_OPTIONS: '' } })
  t.teardown(() => void child.kill('SIGKILL'))
  child.send(task)
  await once(child, 'message')
  return {
    stop: async () => {
      const answered = once(child, 'message')
      child.send('stop')
      return (await answered)[0] as CrowdDone
    }
  }
}

async function run({ address, name, images, pulling, pushing }: Task, stopped: Promise<unknown>): Promise<CrowdDone> {
  const client = new Client(address, pulling + pushing)
  const done: CrowdDone = { pulls: 0, pushes: 0, images: [...images] }
  let running = true
  void stopped.then(() => {
    running = false
  })
  const each = async (work: () => Promise<void>) => {
    while (running && done.failure === undefined)
      await work().catch((error: Error) => {
        done.failure ??= error.message
      })
  }
  await Promise.all([
    ...Array.from({ length: pulling }, () =>
      each(async () => {
        await pullImage(client, name, images[done.pulls++ % images.length] ?? { tag: '', parts: [] })
      })
    ),
    ...Array.from({ length: pushing }, (_, at) => {
      const mine = new Random(at + 2)
      return each(async () => {
        done.images.push(await pushImage(client, name, mine))
        done.pushes++
      })
    })
  ])
  await stopped
  await client.close()
  return done
}

if (process.argv[1] === import.meta.filename) {
  const [task] = (await once(process, 'message')) as [Task]
  const stopped = once(process, 'message')
  process.send?.('begun')
  process.send?.(await run(task, stopped))
  process.disconnect()
}
