import { isDeepStrictEqual } from 'node:util'
import { parse, stringify } from 'smol-toml'

type Table = Record<string, unknown>

// The plugin that pulls for the kubelet, by the version of the configuration file (containerd, docs/PLUGINS.md).
const plugins: ReadonlyMap<number, string> = new Map([
  [1, 'cri'],
  [2, 'io.containerd.grpc.v1.cri'],
  [3, 'io.containerd.cri.v1.images']
])

/** The registry settings of containerd's CRI plugin; undefined if there are none. */
export function registryTable(config: Table): Table | undefined {
  const tables = [...plugins.values()].map(name => inside(inside(inside(config, 'plugins'), name), 'registry'))
  const found = tables.filter(each => each !== undefined)
  // A newer containerd lists the old name too.
  return found.find(each => each['config_path']) ?? found[0]
}

/**
 * The text of containerd's configuration with `config_path` set, and nothing else changed; undefined if the text is
 * written in a way that leaves no room for it. `version` is that of the file's format where there is no text.
 */
export function withConfigPath(text: string | undefined, path: string, version: 2 | 3 = 2): string | undefined {
  if (text === undefined || text.trim() === '') return rendered(version, path)
  const config = parsed(text)
  const plugin = config && plugins.get(Number(config['version'] ?? 1))
  if (config === undefined || plugin === undefined) return undefined
  const changed = inserted(text, plugin, path)
  return isOnlyDifference(config, changed, plugin, path) ? changed : undefined
}

function rendered(version: 2 | 3, path: string): string {
  const plugin = plugins.get(version) ?? ''
  return stringify({ version, plugins: { [plugin]: { registry: { config_path: path } } } })
}

function inserted(text: string, plugin: string, path: string): string {
  const lines = text.split('\n')
  const line = `config_path = ${JSON.stringify(path)}`
  const header = lines.findIndex(each => isHeader(each, plugin))
  if (header === -1) {
    const key = plugin.includes('.') ? JSON.stringify(plugin) : plugin
    return `${text.replace(/\n*$/, '\n')}\n[plugins.${key}.registry]\n  ${line}\n`
  }
  const end = lines.findIndex((each, index) => index > header && /^\s*\[/.test(each))
  const last = end === -1 ? lines.length : end
  const present = lines.findIndex((each, index) => index > header && index < last && /^\s*config_path\s*=/.test(each))
  const indent = /^\s*/.exec(lines[header] ?? '')?.[0] ?? ''
  if (present === -1) lines.splice(header + 1, 0, `${indent}  ${line}`)
  else lines[present] = `${/^\s*/.exec(lines[present] ?? '')?.[0]}${line}`
  return lines.join('\n')
}

function isHeader(line: string, plugin: string): boolean {
  const name = plugin.replaceAll('.', '\\.')
  return new RegExp(
    `^\\s*\\[\\s*plugins\\s*\\.\\s*(?:"${name}"|'${name}'|${plugin.includes('.') ? '(?!)' : name})\\s*\\.\\s*registry\\s*\\]`
  ).test(line)
}

// Whatever the lines look like, what containerd reads decides.
function isOnlyDifference(config: Table, changed: string, plugin: string, path: string): boolean {
  const found = parsed(changed)
  if (!found) return false
  const expected = structuredClone(config)
  table(table(table(expected, 'plugins'), plugin), 'registry')['config_path'] = path
  return isDeepStrictEqual(plain(found), plain(expected))
}

function parsed(text: string): Table | undefined {
  try {
    return parse(text)
  } catch {
    return undefined
  }
}

const plain = (value: unknown): unknown => JSON.parse(JSON.stringify(value, (_, each) => (typeof each === 'bigint' ? `${each}n` : each)))

function table(parent: Table, key: string): Table {
  const found = inside(parent, key)
  if (found) return found
  const made: Table = {}
  parent[key] = made
  return made
}

function inside(parent: Table | undefined, key: string): Table | undefined {
  const value = parent?.[key]
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Table) : undefined
}
