import { resolve } from 'node:path'
import { type Finding, formatValue, type Path } from './fault.ts'
import { codeOf, readText } from './text.ts'
import { isMapping, type SettingSchema, schemaInside } from './walk.ts'

const MAX_SECRET = 65_536
// Four times the bundle of authorities of a system.
const MAX_TEXT = 1_048_576

/** The setting that names a file with the value. */
export const fileSetting = (setting: string): string => `${setting}File`

/** Whether the value may be in a file of its own: secrets, and a few long texts. */
export const hasFile = ({ secret, orFile }: SettingSchema): boolean => secret === true || orFile === true

/** The settings that values were read from: `from` returns the path of the `…File` setting, or the path itself. */
export interface SecretFiles {
  from(path: Path): Path
  /** The absolute paths of the files. */
  readonly files: readonly string[]
}

/** Replaces every `<setting>File` in `value` by the content of the file without its last newline. */
export const readSecretFiles = (schema: SettingSchema, value: unknown, folder: string, findings: Finding[]): SecretFiles => {
  const origins = new Map<string, Path>()
  const files: string[] = []
  const visit = (inside: SettingSchema, part: unknown, path: Path): void => {
    if (isMapping(part)) {
      for (const [setting, schema] of settingsWithFile(inside)) take(part, setting, schema, path)
    }
    if (typeof part !== 'object' || part === null) return
    for (const [key, child] of Object.entries(part)) {
      const step = Array.isArray(part) ? Number(key) : key
      const next = schemaInside(inside, step)
      if (next) visit(next, child, [...path, step])
    }
  }
  const take = (part: Record<string, unknown>, setting: string, { secret }: SettingSchema, path: Path): void => {
    const named = fileSetting(setting)
    if (!Object.hasOwn(part, named)) return
    const place = [...path, named]
    if (typeof part[named] === 'string') files.push(resolve(folder, part[named]))
    if (Object.hasOwn(part, setting)) findings.push({ path: place, expected: `either ${setting} or ${named}, not both` })
    else part[setting] = readValue(part[named], place, folder, secret ? SECRET : TEXT, findings)
    delete part[named]
    origins.set(JSON.stringify([...path, setting]), place)
  }
  visit(schema, value, [])
  return { from: path => origins.get(JSON.stringify(path)) ?? path, files }
}

const SECRET = { limit: MAX_SECRET, what: 'the secret' }
const TEXT = { limit: MAX_TEXT, what: 'the value' }

const settingsWithFile = ({ properties = {} }: SettingSchema) => Object.entries(properties).filter(([, each]) => hasFile(each))

const readValue = (file: unknown, path: Path, folder: string, { limit, what }: typeof SECRET, findings: Finding[]): unknown => {
  if (typeof file !== 'string' || file === '') {
    findings.push({ path, expected: 'the path of a file', value: formatValue(file) })
    return undefined
  }
  try {
    const secret = readText(resolve(folder, file), limit).replace(/\r?\n$/, '')
    if (secret) return secret
    findings.push({ path, expected: `a file with ${what} in it; it is empty`, value: formatValue(file) })
  } catch (error) {
    findings.push({ path, expected: `a readable file (${codeOf(error)})`, value: formatValue(file) })
  }
  return undefined
}
