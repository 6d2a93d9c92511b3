import { indexType } from './upstream-content.ts'

const mib = 1024 * 1024

/** A document of about `bytes`: `head`, as many entries as fit with commas between them, `tail`. */
function filled(bytes: number, [head, tail]: readonly [string, string], entry: (at: number) => string): Buffer {
  const entries: string[] = []
  for (let at = 0, length = head.length + tail.length; ; at++) {
    const text = entry(at)
    length += text.length + 1
    if (length > bytes) break
    entries.push(text)
  }
  return Buffer.from(head + entries.join(',') + tail)
}

/** A digest that no bytes have. */
export function unknownDigest(at: number): string {
  return `sha256:${at.toString(16).padStart(64, '0')}`
}

/** Entries of lists that cost a parser most of its time for few bytes. */
export const costly: Readonly<Record<string, (at: number) => string>> = {
  lists: () => '[]',
  objects: () => '{}',
  nested: () => '[[[[[[[[]]]]]]]]',
  numbers: () => '0',
  texts: at => `"${at.toString(36)}"`,
  escapes: at => `"\\u00e9${at.toString(36)}"`,
  'objects of other keys': at => `{"k${at.toString(36)}":0}`,
  'objects of many keys': at => `{${Array.from({ length: 16 }, (_, key) => `"${at}.${key}":0`).join(',')}}`,
  descriptors: at => `{"mediaType":"a/b","digest":"${unknownDigest(at)}","size":${at}}`
}

/** A manifest of `bytes` whose unknown field holds costly entries. */
export function costlyManifest(kind: string, bytes = 4 * mib): Buffer {
  return filled(bytes, [`{"schemaVersion":2,"mediaType":"${indexType}","manifests":[],"x":[`, ']}'], costly[kind] ?? String)
}

/** A tag list of `bytes`, from the last tag to the first. */
export function longTagList(bytes: number): Buffer {
  return filled(bytes, ['{"name":"a","tags":[', ']}'], at => `"v${(9_999_999 - at).toString(36)}"`)
}

/** A tag list of `bytes` with costly entries. */
export function costlyTagList(kind: string, bytes: number): Buffer {
  return filled(bytes, ['{"name":"a","tags":[', ']}'], costly[kind] ?? String)
}

/** An index of so many descriptors, as builders for many platforms and referrers make them. */
export function largeIndex(descriptors: number, more = ''): Buffer {
  const entry = (at: number) =>
    `{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"${unknownDigest(at)}","size":${at},"platform":{"architecture":"amd64","os":"linux"}${more}}`
  const manifests = Array.from({ length: descriptors }, (_, at) => entry(at)).join(',')
  return Buffer.from(`{"schemaVersion":2,"mediaType":"${indexType}","manifests":[${manifests}]}`)
}
