import { readFile } from 'node:fs/promises'
import { isName, type Name } from '../../oci/name.ts'
import { WrongUse } from '../run-operation.ts'

/** The flags by which a registry is reached. */
export interface RegistryFlags {
  tlsCa?: string
  insecure?: true
  login?: string
  passwordFile?: string
  otherHost?: string[]
  atOnce: string
}

/** Another registry, and the repository in it below which a bundle lies. */
export interface RegistryPlace {
  host: string
  path: Name
}

/** Parses `<host>[:<port>]/<path>`. */
export function parsePlace(text: string, flag: string): RegistryPlace {
  const wrong = (reason: string) =>
    new WrongUse(
      `${flag}: ${JSON.stringify(text.slice(0, 300))} ${reason}; expected HOST[:PORT]/PATH, such as registry.example.com/system/deckhouse`
    )
  if (/^[a-z]+:\/\//i.test(text)) throw wrong('begins with a scheme')
  const slash = text.indexOf('/')
  const [host, path] = slash === -1 ? [text, ''] : [text.slice(0, slash), text.slice(slash + 1).replace(/\/$/, '')]
  if (!URL.canParse(`https://${host}`) || new URL(`https://${host}`).host === '' || /[@?#\\]/.test(host)) throw wrong('has no host')
  if (path === '') throw wrong('has no repository path, and a bundle is not kept in the root of a registry')
  if (!isName(path)) throw wrong('has a path that is not the name of a repository')
  return { host, path }
}

/** A positive integer up to `max`. */
export function parseCount(text: string, flag: string, max: number): number {
  const count = /^[0-9]{1,9}$/.test(text) ? Number(text) : 0
  if (count >= 1 && count <= max) return count
  throw new WrongUse(`${flag}: expected a number from 1 to ${max}, not ${JSON.stringify(text.slice(0, 160))}`)
}

/** Credentials of `--login` and the file with its password, which is its first line; undefined for none. */
export async function credentialsOf({ login, passwordFile }: RegistryFlags): Promise<{ username: string; password: string } | undefined> {
  if (login === undefined && passwordFile === undefined) return undefined
  if (login === undefined || passwordFile === undefined) throw new WrongUse('--login and --password-file belong together')
  const [password = ''] = (await readFile(passwordFile, 'utf8')).split(/\r?\n/)
  if (password === '') throw new WrongUse(`--password-file: the first line of ${passwordFile} is empty`)
  return { username: login, password }
}

/**
 * What leads from the path in a bundle to that below a target: the modules may lie elsewhere there
 * (`--modules-path-suffix`, which d8 has too).
 */
export function modulesAt(suffix: string): (path: string) => string {
  const place = suffix.replace(/^\/+|\/+$/g, '')
  if (place !== '' && !isName(place))
    throw new WrongUse(`--modules-path-suffix: ${JSON.stringify(suffix.slice(0, 160))} is no path of a repository`)
  return path => {
    if (path !== 'modules' && !path.startsWith('modules/')) return path
    return `${place}${path.slice('modules'.length)}`.replace(/^\//, '')
  }
}
