/** One system call that succeeded; `began` and `ended` are places in the order of everything that happened. */
export interface Call {
  name: string
  /** The file that the first argument's descriptor stood for, or the first path among the arguments. */
  path: string
  /** Where a rename led. */
  to?: string
  /** The arguments as they were written down. */
  text: string
  began: number
  ended: number
}

/** What strace is started with: every call that the promise is about, with the path behind each descriptor. */
export function straceCommand(output: string): string[] {
  const calls = 'rename,renameat,renameat2,fsync,fdatasync,mkdir,mkdirat,write,writev,pwrite64,pwritev,pwritev2,sendto,sendmsg'
  return ['strace', '-f', '-y', '-s', '32', '-e', 'signal=none', '-e', `trace=${calls}`, '-o', output]
}

const line = /^(\d+) +(.*)$/
const whole = /^(\w+)\((.*)\) += (-?\d+)/
const unfinished = /^(\w+)\((.*) <unfinished \.\.\.>$/
const resumed = /^<\.\.\. (\w+) resumed>(.*)$/

/**
 * Reads what strace wrote. Threads are woven into each other: a call that was interrupted by another's is put together
 * again.
 */
export function parseTrace(text: string): Call[] {
  const calls: Call[] = []
  const open = new Map<string, { start: string; began: number }>()
  for (const [at, each] of text.split('\n').entries()) {
    const [, thread = '', rest = ''] = line.exec(each) ?? []
    const begins = unfinished.exec(rest)
    if (begins) {
      open.set(thread, { start: `${begins[1]}(${begins[2]}`, began: at })
      continue
    }
    const ends = resumed.exec(rest)
    const before = ends ? open.get(thread) : undefined
    const call = parseCall(ends ? `${before?.start ?? ''}${ends[2]}` : rest, before?.began ?? at, at)
    if (call) calls.push(call)
  }
  return calls
}

function parseCall(text: string, began: number, ended: number): Call | undefined {
  const [, name = '', args = '', result = '-1'] = whole.exec(text) ?? []
  if (Number(result) < 0) return undefined
  const paths = [...args.matchAll(/"([^"]*)"/g)].map(match => match[1] ?? '')
  // A call on a path begins with the path, or with the descriptor of the folder that the path starts at.
  const onPath = name.startsWith('rename') || name.startsWith('mkdir')
  const path = onPath ? paths[0] : /^\d+<([^>]*)>/.exec(args)?.[1]
  if (path === undefined) return undefined
  return { name, path, text: args, began, ended, ...(name.startsWith('rename') && paths[1] ? { to: paths[1] } : {}) }
}
