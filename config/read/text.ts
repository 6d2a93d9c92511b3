import { closeSync, openSync, readSync } from 'node:fs'

/** The text of a small file or pipe; throws an error with a `code` if it is longer than `limitBytes` or not UTF-8. */
export const readText = (file: string, limitBytes: number): string => {
  const bytes = readBytes(file, limitBytes)
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch (cause) {
    throw Object.assign(new Error(`${file} is not UTF-8`, { cause }), { code: 'not UTF-8' })
  }
}

/** The reason why a file could not be read, for a fault: ENOENT, EACCES and so on. */
export const codeOf = (error: unknown): string => {
  const code = error instanceof Error && 'code' in error ? error.code : undefined
  return typeof code === 'string' ? code : 'unreadable'
}

const readBytes = (file: string, limitBytes: number): Buffer => {
  const bytes = Buffer.alloc(limitBytes + 1)
  const descriptor = openSync(file, 'r')
  try {
    let length = 0
    while (length <= limitBytes) {
      const count = readSync(descriptor, bytes, length, bytes.length - length, null)
      if (count === 0) return bytes.subarray(0, length)
      length += count
    }
  } finally {
    closeSync(descriptor)
  }
  throw Object.assign(new Error(`${file} is longer than ${limitBytes} bytes`), { code: `longer than ${limitBytes} bytes` })
}
