import { closeSync, openSync, readSync } from 'node:fs'

/** The text of a small file, which may be a pipe; throws with a `code` when it is longer than `limit` bytes or not UTF-8. */
export const readText = (file: string, limit: number): string => {
  const bytes = readBytes(file, limit)
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch (cause) {
    throw Object.assign(new Error(`${file} is not UTF-8`, { cause }), { code: 'not UTF-8' })
  }
}

/** Why a file could not be read, short enough for a fault: ENOENT, EACCES and so on. */
export const codeOf = (error: unknown): string => {
  const code = error instanceof Error && 'code' in error ? error.code : undefined
  return typeof code === 'string' ? code : 'unreadable'
}

const readBytes = (file: string, limit: number): Buffer => {
  const bytes = Buffer.alloc(limit + 1)
  const descriptor = openSync(file, 'r')
  try {
    let length = 0
    while (length <= limit) {
      const count = readSync(descriptor, bytes, length, bytes.length - length, null)
      if (count === 0) return bytes.subarray(0, length)
      length += count
    }
  } finally {
    closeSync(descriptor)
  }
  throw Object.assign(new Error(`${file} is longer than ${limit} bytes`), { code: `longer than ${limit} bytes` })
}
