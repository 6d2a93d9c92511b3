import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { must } from '../test/e2e/command.ts'
import { urlOf } from './download.ts'
import type { Server } from './servers/server.ts'

/** Requests of one kind as fast as they are answered. */
export interface Load {
  /** For the script of wrk. */
  folder: string
  path: string
  accept: string
  /** Bytes of each body. */
  size: number
  connections: number
  seconds: number
}

/** What wrk saw. */
export interface Rate {
  requestsPerSecond: number
  p50: number
  p99: number
}

/** GETs by wrk, with one thread so that the server has the other cores; rejects if an answer was an error or a body was not whole. */
export async function runWrk(server: Server, { folder, path, accept, size, connections, seconds }: Load): Promise<Rate> {
  const script = join(folder, 'load.lua')
  await writeFile(script, scriptOf(accept))
  const args = ['-t1', `-c${connections}`, `-d${seconds}s`, '-s', script, `${urlOf(server)}${path}`]
  const output = await must('wrk', args, { limit: (seconds + 30) * 1000 })
  const line = output.split('\n').find(each => each.startsWith('{'))
  if (line === undefined) throw new Error(`wrk told nothing:\n${output}`)
  const { requests, bytes, duration, errors, p50, p99 }: Figures = JSON.parse(line)
  // The head counts as well, so that this is a lower bound; what was under way at the end is missing.
  if (errors > 0 || requests === 0 || bytes < size * (requests - connections)) {
    throw new Error(`${server.name}: ${requests} requests for ${path}, ${errors} errors, ${bytes} bytes`)
  }
  return { requestsPerSecond: requests / (duration / 1e6), p50: p50 / 1000, p99: p99 / 1000 }
}

interface Figures {
  requests: number
  bytes: number
  /** In microseconds, as are the percentiles. */
  duration: number
  errors: number
  p50: number
  p99: number
}

function scriptOf(accept: string): string {
  return `wrk.headers["Accept"] = "${accept}"
function done(summary, latency)
  local e = summary.errors
  io.write(string.format('{"requests":%d,"bytes":%d,"duration":%d,"errors":%d,"p50":%d,"p99":%d}\\n', summary.requests, summary.bytes,
    summary.duration, e.connect + e.read + e.write + e.status + e.timeout, latency:percentile(50), latency:percentile(99)))
end
`
}
