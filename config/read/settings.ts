import type { Static, TSchema } from 'typebox'
import { readDocument } from './document.ts'
import { ConfigError, type Fault, type Finding, formatPath, type Path } from './fault.ts'
import { readSecretFiles } from './secret.ts'
import { validate } from './validate.ts'

/** The text of a file; without a text, the default settings. */
export interface SettingsSource {
  /** The name in faults. */
  readonly file: string
  readonly text?: string
  /** The folder of relative paths. */
  readonly folder: string
}

/** Settings that are valid by their schema. */
export interface ReadSettings<T> {
  readonly settings: T
  /** The absolute paths of the files that settings were read from. */
  readonly files: readonly string[]
  /** Throws a `ConfigError` if there are findings, with their lines in the file. */
  refuse(findings: readonly Finding[]): void
}

/** Rules between settings. The settings may be invalid in other ways. */
export type Rules = (settings: unknown) => readonly Finding[]

/**
 * Reads settings of any schema; throws a `ConfigError` with all faults. The rules of `written` see the settings as they
 * are in the file, those of `rules` with the defaults.
 */
export const readSettings = <T extends TSchema>(
  schema: T,
  source: SettingsSource,
  rules: Rules = () => [],
  written: Rules = () => []
): ReadSettings<Static<T>> => {
  const findings: Finding[] = []
  const document = source.text === undefined ? noDocument() : readDocument(source.text, findings)
  const refusal = (found: readonly Finding[]): ConfigError => new ConfigError(inFile(source.file, found, document?.lineOf))
  if (!document) throw refusal(findings)
  const settings = document.value
  if (settings === null) throw refusal([{ path: [], line: 0, expected: 'at least one setting; the file is empty' }])
  const secrets = readSecretFiles(schema, settings, source.folder, findings)
  const invalid: Finding[] = []
  // Before the defaults are filled in.
  const wrong = written(settings)
  const fits = validate(schema, settings, invalid)
  const broken = [...wrong, ...rules(settings)]
  if (!fits || broken.length > 0 || findings.length > 0) {
    const moved = [...broken, ...invalid].map(finding => ({ ...finding, path: secrets.from(finding.path) }))
    throw refusal(oneEach([...findings, ...moved]))
  }
  const refuse = (found: readonly Finding[]): void => {
    if (found.length > 0) throw refusal(found)
  }
  return { settings, files: secrets.files, refuse }
}

// The first finding about a setting is the most specific: an unreadable file, then a rule of the module.
const oneEach = (findings: readonly Finding[]): Finding[] => {
  const known = new Set<string>()
  return findings.filter(({ path, line }) => {
    const key = JSON.stringify(path)
    const fresh = line !== undefined || !known.has(key)
    known.add(key)
    return fresh
  })
}

// New each time, since the defaults are filled into it.
const noDocument = () => ({ value: {}, lineOf: () => 0 })

const inFile = (file: string, findings: readonly Finding[], lineOf: (path: Path) => number = () => 0): Fault[] =>
  findings
    .map(({ path, line, ...rest }) => ({ file, line: line ?? lineOf(path), path: formatPath(path), ...rest }))
    .sort((a, b) => a.line - b.line)
