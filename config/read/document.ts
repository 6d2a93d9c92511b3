import { type Document, isAlias, isMap, isScalar, isSeq, LineCounter, type Node, parseDocument, type YAMLError, type YAMLMap } from 'yaml'
import type { Finding, Path } from './fault.ts'

/** The plain values of a YAML text, and their positions. */
export interface PlainDocument {
  readonly value: unknown
  /** The line of a setting, or of the closest setting around it that the text has. */
  lineOf(path: Path): number
}

// Aliases are expanded; these limits stop a few lines from growing exponentially ("billion laughs").
const MAX_NODES = 10_000
const MAX_DEPTH = 32
const MAX_ERRORS = 10

// The parser's own messages quote the source, which may hold a secret.
const texts: Readonly<Partial<Record<YAMLError['code'], string>>> = {
  BAD_INDENT: 'an indentation that fits the lines around it',
  DUPLICATE_KEY: 'every setting at most once',
  MULTIPLE_DOCS: 'one YAML document',
  NON_STRING_KEY: 'plain names as keys',
  RESOURCE_EXHAUSTION: 'fewer levels',
  TAB_AS_INDENT: 'spaces as indentation, not tabs',
  TAG_RESOLVE_FAILED: 'values without YAML tags'
}

/** Reads one YAML document. Faults are added to `findings`; undefined: the text cannot be parsed. */
export const readDocument = (text: string, findings: Finding[]): PlainDocument | undefined => {
  const lines = new LineCounter()
  const document = parseDocument(text, {
    lineCounter: lines,
    prettyErrors: false,
    stringKeys: true,
    resolveKnownTags: false,
    // 'silent' would accept a second document.
    logLevel: 'error'
  })
  const lineAt = (offset: number): number => lines.linePos(offset).line
  const errors = [...document.errors, ...document.warnings].filter(error => error.code !== 'DUPLICATE_KEY')
  if (errors.length > 0) {
    findings.push(...describe(errors, lineAt))
    return undefined
  }
  const duplicates = new Set(document.errors.map(error => error.pos[0]))
  return new Expansion(document, lineAt, duplicates, findings).read()
}

const describe = (errors: readonly YAMLError[], lineAt: (offset: number) => number): Finding[] => {
  const byPlace = new Map<string, Finding>()
  for (const { code, pos } of errors) {
    const line = lineAt(pos[0])
    const expected = texts[code] ?? `valid YAML (${code.toLowerCase().replaceAll('_', ' ')})`
    byPlace.set(`${line} ${code}`, { path: [], line, expected })
  }
  return [...byPlace.values()].sort((a, b) => (a.line ?? 0) - (b.line ?? 0)).slice(0, MAX_ERRORS)
}

class Expansion {
  readonly #document: Document.Parsed
  readonly #lineAt: (offset: number) => number
  readonly #duplicates: ReadonlySet<number>
  readonly #findings: Finding[]
  readonly #lines = new Map<string, number>()
  #nodes = 0

  constructor(document: Document.Parsed, lineAt: (offset: number) => number, duplicates: ReadonlySet<number>, findings: Finding[]) {
    this.#document = document
    this.#lineAt = lineAt
    this.#duplicates = duplicates
    this.#findings = findings
  }

  read(): PlainDocument | undefined {
    const value = this.#plain(this.#document.contents, [])
    if (this.#nodes > MAX_NODES) {
      this.#findings.push({ path: [], expected: `at most ${MAX_NODES} values in at most ${MAX_DEPTH} levels, aliases unfolded` })
      return undefined
    }
    const lines = this.#lines
    return { value, lineOf: path => nearestLine(lines, path) }
  }

  #plain(node: unknown, path: Path): unknown {
    if (path.length > MAX_DEPTH) this.#nodes = MAX_NODES
    if (++this.#nodes > MAX_NODES) return null
    if (isAlias(node)) return this.#resolveAlias(node.resolve(this.#document), path, node.range?.[0])
    if (isMap(node)) return this.#mapping(node, path)
    if (isSeq(node)) return node.items.map((item, index) => this.#plain(this.#recordLine(item, [...path, index]), [...path, index]))
    return isScalar(node) ? node.value : null
  }

  #resolveAlias(target: Node | undefined, path: Path, offset = 0): unknown {
    if (target) return this.#plain(target, path)
    this.#findings.push({ path, line: this.#lineAt(offset), expected: 'an alias whose anchor stands before it' })
    return null
  }

  #mapping(node: YAMLMap, path: Path): unknown {
    const entries = node.items.map(pair => {
      const key = String(isScalar(pair.key) ? pair.key.value : pair.key)
      const inside = [...path, key]
      this.#recordLine(pair.key, inside)
      return [key, this.#plain(pair.value, inside)] as const
    })
    // Unlike an assignment, this makes `__proto__` an ordinary key.
    return Object.fromEntries(entries)
  }

  #recordLine(node: unknown, path: Path): unknown {
    const offset = isScalar(node) || isMap(node) || isSeq(node) || isAlias(node) ? node.range?.[0] : undefined
    if (offset === undefined) return node
    const line = this.#lineAt(offset)
    this.#lines.set(JSON.stringify(path), line)
    if (this.#duplicates.has(offset)) this.#findings.push({ path, line, expected: texts.DUPLICATE_KEY ?? '' })
    return node
  }
}

const nearestLine = (lines: ReadonlyMap<string, number>, path: Path): number => {
  for (let length = path.length; length > 0; length--) {
    const line = lines.get(JSON.stringify(path.slice(0, length)))
    if (line !== undefined) return line
  }
  return 1
}
