import { execFileSync } from 'node:child_process'
import { globSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'tap'
import { filesBelow, root, sources } from './sources.ts'

const maxFilesPerFolder = 20
const maxLinesPerFile = 350
const maxColumnsOfComment = 120
const maxVagueSubjects = 20
const files = sources()

test('sources: no type is exported under one name by two files', async t => {
  const exported = files.flatMap(({ path, types }) => types.map(type => ({ path, type })))
  const owners = Map.groupBy(exported, each => each.type)
  const twice = [...owners].filter(([, all]) => all.length > 1).map(([type, all]) => `${type}: ${all.map(each => each.path).join(', ')}`)
  t.ok(owners.size > 100, 'types were found')
  t.same(twice, [])
})

test(`sources: no folder holds more than ${maxFilesPerFolder} files, no file more than ${maxLinesPerFile} lines`, async t => {
  const folders = Map.groupBy(files, each => each.folder)
  t.same(
    [...folders].filter(([, all]) => all.length > maxFilesPerFolder).map(([folder, all]) => `${folder}: ${all.length} files`),
    []
  )
  t.same(
    files.filter(({ lines }) => lines.length > maxLinesPerFile).map(({ path, lines }) => `${path}: ${lines.length} lines`),
    []
  )
})

test(`sources: no comment is wider than ${maxColumnsOfComment} columns, and comments say what they are about`, async t => {
  const lines = files.flatMap(({ path, lines }) => lines.map((line, index) => ({ line, at: `${path}:${index + 1}` })))
  const comments = lines.filter(({ line }) => /^\s*(\/\/|\/?\*)/.test(line))
  t.ok(comments.length > 1_000, 'comments were found')
  t.same(
    comments.filter(({ line }) => line.length > maxColumnsOfComment).map(each => each.at),
    []
  )
  const vague = lines.filter(({ line }) => /\b(whoever|somebody|nobody|anybody)\b/i.test(line)).map(each => each.at)
  t.ok(vague.length < maxVagueSubjects, vague.join(', '))
})

test('tests: every test file belongs to one suite, and CI runs all suites', async t => {
  const suites = ['unit', 'modes', 'buckets', 'long', 'e2e', 'cluster'] as const
  const listed = suites.flatMap(suite => listOf(suite).map(file => ({ suite, file })))
  const all = filesBelow('test').filter(path => path.endsWith('.test.ts'))
  t.ok(all.length > 100, 'test files were found')
  t.same(listed.map(each => each.file).sort(), all.sort())
  const ci = readFileSync(join(root, '.ci/run'), 'utf8')
  for (const command of [
    'npm test',
    'npm run -s test:modes',
    'npm run -s test:buckets',
    'npm run -s test:e2e',
    'npm run -s test:cluster',
    'bash test/long/run ci'
  ])
    t.match(ci, command)
})

test('tests: every unit test is in one group, or has a process of its own', async t => {
  const groups = globSync('test/groups/*.ts', { cwd: root }).map(file => readFileSync(join(root, file), 'utf8'))
  const patterns = groups.flatMap(text => [...text.matchAll(/'([^'\n]+\.test\.ts)'/g)].map(([, pattern = '']) => `test/${pattern}`))
  const grouped = patterns.flatMap(pattern => globSync(pattern, { cwd: root }))
  const own = listOf('own')
  t.ok(patterns.length > 5, 'patterns were found')
  t.same([...grouped, ...own].sort(), listOf('unit').sort())
})

function listOf(suite: string): string[] {
  return execFileSync('test/tools/suite', ['list', suite], { cwd: root, encoding: 'utf8' }).split('\n').filter(Boolean)
}
