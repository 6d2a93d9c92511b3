/** One test of a JUnit report. */
export interface Case {
  name: string
  status: 'passed' | 'failure' | 'error' | 'skipped'
  /** What the test complains about. */
  complaint: string
  /** What it wrote on its way: requests and answers. */
  log: string
}

const entities: Readonly<Record<string, string>> = { amp: '&', lt: '<', gt: '>', quot: '"', apos: "'" }

/** Reads the tests of a JUnit report as the conformance suite writes it; an unknown status counts as an error. */
export function parseJunit(xml: string): Case[] {
  return [...xml.matchAll(/<testcase ([^>]*?)(?:\/>|>(.*?)<\/testcase>)/gs)].map(([, attributes = '', inner = '']) => ({
    name: attribute(attributes, 'name'),
    status: statusOf(attribute(attributes, 'status')),
    complaint: element(inner, 'system-out'),
    log: element(inner, 'system-err')
  }))
}

function statusOf(text: string): Case['status'] {
  return text === 'passed' || text === 'failure' || text === 'skipped' ? text : 'error'
}

function attribute(attributes: string, name: string): string {
  return decode(new RegExp(`(?:^|\\s)${name}="([^"]*)"`).exec(attributes)?.[1] ?? '')
}

function element(xml: string, name: string): string {
  return decode(new RegExp(`<${name}>(.*?)</${name}>`, 's').exec(xml)?.[1] ?? '').trim()
}

function decode(text: string): string {
  return text.replace(/&(?:#x([0-9A-Fa-f]+)|#([0-9]+)|([a-z]+));/g, (whole, hex?: string, decimal?: string, name?: string) => {
    if (hex !== undefined) return String.fromCodePoint(Number.parseInt(hex, 16))
    if (decimal !== undefined) return String.fromCodePoint(Number(decimal))
    return (name === undefined ? undefined : entities[name]) ?? whole
  })
}
