import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'

/** A package of the program. */
interface Bundled {
  name: string
  version: string
  license: string
  author?: string
  repository?: string
  /** Its licence and notices. */
  texts: { file: string; text: string }[]
}

const textNames = /^(licen[cs]e|copying|notice|copyright)([.-].*)?$/i

/** The folders of the packages that bundled modules come from; a path is relative to `root` or absolute. */
export function packageFolders(modules: Iterable<string>): string[] {
  const folders = new Set<string>()
  for (const path of modules) {
    const [folder] = /^.*\bnode_modules\/(?:@[^/]+\/)?[^/]+/.exec(path) ?? []
    if (folder !== undefined) folders.add(folder)
  }
  return [...folders]
}

/**
 * The notices that the licences of bundled packages demand: for each its name, licence and texts. A package without a
 * text of its own is under the text of another one of the same licence, with its author named.
 */
export async function writeNotices(folders: readonly string[]): Promise<string> {
  const packages = await Promise.all(folders.map(readPackage))
  const unique = new Map(packages.map(each => [`${each.name}@${each.version}`, each]))
  const sorted = [...unique].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, each]) => each)
  const standard = (license: string) => sorted.find(each => each.license === license && each.texts.length > 0)
  const printed = new Map<string, string>()
  const body = (name: string, file: string, text: string) => {
    const trimmed = text.replaceAll('\r\n', '\n').trim()
    const other = printed.get(trimmed)
    if (other !== undefined) return `--- ${file}: that of ${other} ---`
    printed.set(trimmed, name)
    return `--- ${file} ---\n\n${trimmed}`
  }
  const sections = sorted.map(({ name, version, license, author, repository, texts }) => {
    const head = [
      `${name} ${version}`,
      `Licence: ${license}`,
      ...(author ? [`Author: ${author}`] : []),
      ...(repository ? [repository] : [])
    ]
    const bodies = texts.map(({ file, text }) => body(name, file, text))
    if (bodies.length > 0) return [head.join('\n'), ...bodies].join('\n\n')
    const other = standard(license)
    if (!other) throw new Error(`${name}@${version} has no text of its licence (${license}), and no other package has one`)
    return `${head.join('\n')}\n\nIt comes without a text: the terms are those of ${license}, printed with ${other.name}.`
  })
  const line = `\n\n${'='.repeat(80)}\n\n`
  return `The program contains the packages below, each under its own licence.${line}${sections.join(line)}\n`
}

async function readPackage(folder: string): Promise<Bundled> {
  const { name, version, license, author, repository } = JSON.parse(await readFile(join(folder, 'package.json'), 'utf8'))
  const files = (await readdir(folder)).filter(file => textNames.test(file)).sort()
  const texts = await Promise.all(files.map(async file => ({ file, text: await readFile(join(folder, file), 'utf8') })))
  const url = typeof repository === 'string' ? repository : repository?.url
  const by = typeof author === 'string' ? author : author?.name
  return { name, version, license: String(license), texts, ...(by ? { author: by } : {}), ...(url ? { repository: url } : {}) }
}
