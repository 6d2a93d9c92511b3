import type { Static, TSchema } from 'typebox'
import { readDocument } from './document.ts'
import { ConfigError, type Fault, type Finding, formatPath, type Path } from './fault.ts'
import { readSecretFiles } from './secret.ts'
import { validate } from './validate.ts'

/** A file's text; without one, the defaults alone. */
export interface Source {
  /** As it is named in faults. */
  readonly file: string
  readonly text?: string
  /** Where relative paths start. */
  readonly folder: string
}

/** Settings that fit their schema, and how a further finding about them is put into the file. */
export interface ReadSettings<T> {
  readonly settings: T
  /** Throws when there is anything to report. */
  refuse(findings: readonly Finding[]): void
}

/** Reads settings of any schema; throws a `ConfigError` with everything that is wrong. */
export const readSettings = <T extends TSchema>(schema: T, source: Source): ReadSettings<Static<T>> => {
  const findings: Finding[] = []
  const document = source.text === undefined ? noDocument() : readDocument(source.text, findings)
  const refusal = (found: readonly Finding[]): ConfigError => new ConfigError(inFile(source.file, found, document?.lineOf))
  if (!document) throw refusal(findings)
  const settings = document.value
  if (settings === null) throw refusal([{ path: [], line: 0, expected: 'at least one setting; the file is empty' }])
  const secrets = readSecretFiles(schema, settings, source.folder, findings)
  const invalid: Finding[] = []
  if (!validate(schema, settings, invalid) || findings.length > 0) {
    const known = new Set(findings.map(({ path }) => JSON.stringify(path)))
    const moved = invalid.map(finding => ({ ...finding, path: secrets.from(finding.path) }))
    throw refusal([...findings, ...moved.filter(({ path }) => !known.has(JSON.stringify(path)))])
  }
  const refuse = (found: readonly Finding[]): void => {
    if (found.length > 0) throw refusal(found)
  }
  return { settings, refuse }
}

// Made anew each time: the defaults are filled into it.
const noDocument = () => ({ value: {}, lineOf: () => 0 })

const inFile = (file: string, findings: readonly Finding[], lineOf: (path: Path) => number = () => 0): Fault[] =>
  findings
    .map(({ path, line, ...rest }) => ({ file, line: line ?? lineOf(path), path: formatPath(path), ...rest }))
    .sort((a, b) => a.line - b.line)
