import { test } from 'tap'
import { compileRepositoryPattern } from '../../../src/access/repository-pattern.ts'

const cases: [pattern: string, matching: string[], others: string[]][] = [
  ['team/app', ['team/app'], ['team', 'team/app/x', 'team/apps', 'x/team/app', 'team-app']],
  ['team/**', ['team', 'team/a', 'team/a/b/c'], ['teams', 'teams/a', 'tea', 'x/team', 'x/team/a']],
  ['team/*', ['team/a', 'team/b-c'], ['team', 'team/a/b', 'teams/a']],
  ['*/app', ['team/app', 'a/app'], ['app', 'a/b/app', 'a/apps']],
  ['**/app', ['app', 'a/app', 'a/b/app'], ['a/b/apps', 'app/a', 'myapp']],
  ['a/**/z', ['a/z', 'a/b/z', 'a/b/c/z'], ['a', 'z', 'a/b', 'b/z', 'a/z/b']],
  ['a/**/a', ['a/a', 'a/b/a'], ['a']],
  ['a/*/**', ['a/b', 'a/b/c'], ['a']],
  ['**', ['a', 'a/b', 'a/b/c'], []]
]
for (const [pattern, matching, others] of cases) {
  test(`repository pattern: ${pattern}`, async t => {
    const { matches } = compileRepositoryPattern(pattern)
    for (const name of matching) t.ok(matches(name), name)
    for (const name of others) t.notOk(matches(name), name)
  })
}

test('repository pattern: characters of names have no other meaning', async t => {
  const { matches } = compileRepositoryPattern('a.b/c-d')
  t.ok(matches('a.b/c-d'))
  t.notOk(matches('axb/c-d'))
})

test('repository pattern: of an upstream only what begins with its host, which no wildcard stands for', async t => {
  const { matches, matchesHost } = compileRepositoryPattern('docker.io/library/*')
  t.ok(matches('library/alpine', 'docker.io'))
  t.ok(matchesHost('docker.io'))
  for (const host of ['quay.io', 'docker.io:443', 'docker', 'library']) t.notOk(matches('library/alpine', host), host)
  t.notOk(matches('library/alpine'))
  for (const pattern of ['**', '*/**', '*/library/alpine', 'library/*', 'library/alpine', '**/alpine']) {
    const compiled = compileRepositoryPattern(pattern)
    t.notOk(compiled.matches('library/alpine', 'docker.io'), pattern)
    t.notOk(compiled.matchesHost('docker.io'), pattern)
  }
})

test('repository pattern: all of this registry is **, and all of an upstream its host with /**', async t => {
  t.ok(compileRepositoryPattern('**').matchesAll())
  t.notOk(compileRepositoryPattern('**').matchesAll('docker.io'))
  t.ok(compileRepositoryPattern('docker.io/**').matchesAll('docker.io'))
  t.notOk(compileRepositoryPattern('docker.io/**').matchesAll('quay.io'))
  for (const pattern of ['docker.io/**', 'team/**', '*', '*/**', '**/a']) t.notOk(compileRepositoryPattern(pattern).matchesAll(), pattern)
})
