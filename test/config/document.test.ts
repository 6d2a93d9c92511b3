import { test } from 'tap'
import { loaded, refused } from './written.ts'

test('an empty file, or one of comments only, is a fault', async t => {
  for (const yaml of ['', '\n\n', '# nothing\n', '---\n', 'null']) {
    t.same(refused(t, yaml), ['0 : at least one setting; the file is empty'], JSON.stringify(yaml))
  }
})

test('a setting that stands twice is refused at its second place, together with the other faults', async t => {
  const yaml = 'server:\n  path: a\n  path: b\nlog:\n  level: loud\n'
  t.same(refused(t, yaml), [
    '3 server.path: every setting at most once',
    '5 log.level: one of silent, fatal, error, warn, info, debug, trace'
  ])
})

test('broken YAML is refused with its line', async t => {
  t.same(refused(t, 'log:\n  level: info\n\tx: 1\n'), ['3 : spaces as indentation, not tabs'])
  t.match(refused(t, 'log:\n  level: [info\n'), [/^\d : /])
  t.same(refused(t, 'log: {}\n---\nlog: {}\n'), ['2 : one YAML document'])
  t.same(refused(t, 'log:\n  level: !!binary aW5mbw==\n'), ['2 : values without YAML tags'])
})

test('a fault of YAML does not quote the source, which may hold a secret', async t => {
  for (const yaml of ['a: !hunter2 x', 'a: *hunter2', 'a: "hunter2', '"hunter2" b: hunter2: hunter2', 'a: [hunter2']) {
    t.notMatch(refused(t, yaml).join(), /hunter2/, yaml)
  }
})

test('an alias without its anchor is refused at its place', async t => {
  t.match(refused(t, 'log: {}\nserver:\n  path: *x\n'), ['3 server.path: an alias whose anchor stands before it'])
})

test('aliases that grow exponentially are refused', async t => {
  const rows = ['a: &a [x,x,x,x,x,x,x,x,x,x]']
  for (const [anchor, before] of ['ba', 'cb', 'dc', 'ed', 'fe', 'gf', 'hg', 'ih'])
    rows.push(`${anchor}: &${anchor} [${Array(10).fill(`*${before}`)}]`)
  t.same(refused(t, rows.join('\n')), ['0 : at most 10000 values in at most 32 levels, aliases unfolded'])
})

test('an alias inside its own anchor is refused', async t => {
  t.same(refused(t, 'server: &s { tls: *s }'), ['0 : at most 10000 values in at most 32 levels, aliases unfolded'])
})

test('a document nested 20,000 deep is refused', async t => {
  t.match(refused(t, '['.repeat(20_000)), ['1 : fewer levels'])
})

test('words that older YAML took for booleans stay words', async t => {
  t.same(loaded(t, 'server: { names: [no, on] }').server.names, ['no', 'on'])
})
