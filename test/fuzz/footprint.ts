import { readdir } from 'node:fs/promises'
import { join } from 'node:path'

// Written down once more and on its own: what the layout allows, and nothing else.
const digest = '(sha256/[0-9a-f]{64}|sha512/[0-9a-f]{128})'
const component = '[a-z0-9]+((\\.|_|__|-+)[a-z0-9]+)*'
const allowed = [
  'docker/registry/v2/blobs/(sha256/[0-9a-f]{2}/[0-9a-f]{64}|sha512/[0-9a-f]{2}/[0-9a-f]{128})/data',
  `docker/registry/v2/repositories/${component}(/${component})*/(${[
    `_layers/${digest}/link`,
    `_manifests/revisions/${digest}/link`,
    `_manifests/tags/[A-Za-z0-9_][A-Za-z0-9._-]{0,127}/(current|index/${digest})/link`,
    '_uploads/[0-9a-f-]{36}/(data|startedat)',
    `_referrers/${digest}/${digest}/link`
  ].join('|')})`,
  '\\.registry/[^/]+',
  '\\.registry/tmp/[^/]+'
].map(each => new RegExp(`^${each}$`))

/** Everything that can be seen around a root: the folder that holds it, and the top of the filesystem, where a path of many `..` ends. */
export async function lookAround(folder: string): Promise<string[]> {
  return [...(await readdir(folder)), ...(await readdir('/')).map(each => `/${each}`)].sort()
}

/** Files below the root that the layout does not know. */
export async function findStrangers(root: string): Promise<string[]> {
  const entries = await readdir(root, { recursive: true, withFileTypes: true })
  const files = entries.filter(each => !each.isDirectory()).map(each => join(each.parentPath, each.name).slice(root.length + 1))
  return files.filter(file => !allowed.some(each => each.test(file)))
}
