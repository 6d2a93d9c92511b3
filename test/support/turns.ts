/**
 * The most CPU time that one turn of the event loop took while `task` ran, in ms. Of this thread, so that neither other
 * processes nor a slow disk count.
 */
export async function longestTurnMs(task: () => Promise<unknown>): Promise<number> {
  let longest = 0
  let running = true
  let before = cpuMs()
  const look = () => {
    const now = cpuMs()
    longest = Math.max(longest, now - before)
    before = now
  }
  const watch = () => {
    look()
    if (running) setImmediate(watch)
  }
  setImmediate(watch)
  try {
    await task()
  } finally {
    running = false
    // The turn in which it ended.
    look()
  }
  return longest
}

function cpuMs(): number {
  const { user, system } = process.threadCpuUsage()
  return (user + system) / 1000
}
