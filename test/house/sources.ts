import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'

/** The root of the repository. */
export const root = join(import.meta.dirname, '../..')

/** The files below `folders` that git knows, or would know once they are added, by their path from the root. */
export function filesBelow(...folders: string[]): string[] {
  const options = ['ls-files', '--cached', '--others', '--exclude-standard', '--deduplicate', '--', ...folders]
  return execFileSync('git', options, { cwd: root, encoding: 'utf8' })
    .split('\n')
    .filter(path => path !== '' && existsSync(join(root, path)))
}

/** A source file of the program. */
export interface SourceFile {
  path: string
  folder: string
  lines: string[]
  /** The names of the types, classes and interfaces that it exports. */
  types: string[]
}

/** Every source file of the program. */
export function sources(): SourceFile[] {
  return filesBelow('src', 'storage', 'config')
    .filter(path => path.endsWith('.ts'))
    .map(path => {
      const text = readFileSync(join(root, path), 'utf8')
      const types = [...text.matchAll(/^export (?:abstract )?(?:interface|class|type) (\w+)/gm)].map(([, type = '']) => type)
      return { path, folder: dirname(path), lines: text.trimEnd().split('\n'), types }
    })
}
