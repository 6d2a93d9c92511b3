import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type Test, test } from 'tap'
import { Type } from 'typebox'
import { published } from '../../config/published.ts'
import { renderSettings } from '../../config/read/render.ts'
import { readSettings } from '../../config/read/settings.ts'
import { faultsOf, folder } from './written.ts'

const closed = { additionalProperties: false }
const password = Type.String({ minLength: 8, secret: true, expects: 'a password of 8 characters or more' })
const schema = Type.Object(
  { upstream: Type.Object({ user: Type.String(), password }, closed), tokens: Type.Optional(Type.Array(Type.String({ secret: true }))) },
  closed
)

const read = (text: string, where = '/nowhere') => readSettings(schema, { file: 'x.yaml', text, folder: where }).settings
const withFile = (t: Test, content: string): string => {
  const where = folder(t)
  writeFileSync(join(where, 'secret'), content)
  return where
}

test('a secret may stand in the file itself', async t => {
  t.equal(read('upstream: { user: u, password: hunter2hunter2 }').upstream.password, 'hunter2hunter2')
})

test('a secret may be in a file beside it, without its last newline', async t => {
  const text = 'upstream: { user: u, passwordFile: secret }'
  t.same(read(text, withFile(t, 'hunter2hunter2\n')), { upstream: { user: 'u', password: 'hunter2hunter2' } })
  t.equal(read(text, withFile(t, 'hunter2hunter2\r\n')).upstream.password, 'hunter2hunter2')
  t.equal(read(text, withFile(t, ' hunter2hunter2 \n\n')).upstream.password, ' hunter2hunter2 \n')
})

test('a secret in both places is refused', async t => {
  const where = withFile(t, 'hunter2hunter2')
  t.same(
    faultsOf(() => read('upstream:\n  user: u\n  password: hunter2hunter2\n  passwordFile: secret', where)),
    [{ file: 'x.yaml', line: 4, path: 'upstream.passwordFile', expected: 'either password or passwordFile, not both' }]
  )
})

test('a secret in neither place is refused', async t => {
  const expected = 'a password of 8 characters or more; it is missing'
  t.same(
    faultsOf(() => read('upstream: { user: u }')),
    [{ file: 'x.yaml', line: 1, path: 'upstream.password', expected }]
  )
})

test('a wrong secret is refused without its value', async t => {
  const expected = 'a password of 8 characters or more'
  for (const value of ['hunter2', '[hunter2]', '{ a: hunter2 }']) {
    t.same(
      faultsOf(() => read(`upstream: { user: u, password: ${value} }`)),
      [{ file: 'x.yaml', line: 1, path: 'upstream.password', expected }]
    )
  }
})

test('a wrong value in the place of a section that holds a secret is not printed', async t => {
  t.notMatch(faultsOf(() => read('upstream: hunter2'))[0], { value: /./ })
  t.notMatch(faultsOf(() => read('tokens: hunter2\nupstream: { user: u, password: hunter2hunter2 }'))[0], { value: /./ })
})

test('a wrong secret from a file is refused at the setting that names the file', async t => {
  const where = withFile(t, 'short')
  t.same(
    faultsOf(() => read('upstream:\n  user: u\n  passwordFile: secret', where)),
    [{ file: 'x.yaml', line: 3, path: 'upstream.passwordFile', expected: 'a password of 8 characters or more' }]
  )
})

test('a secret file that is missing, empty or not a path is one fault each', async t => {
  const where = withFile(t, '\n')
  mkdirSync(join(where, 'folder'))
  const expected = (file: string) =>
    faultsOf(() => read(`upstream: { user: u, passwordFile: ${file} }`, where)).map(fault => fault.expected)
  t.same(expected('none'), ['a readable file (ENOENT)'])
  t.same(expected('folder'), ['a readable file (EISDIR)'])
  t.same(expected('secret'), ['a file with the secret in it; it is empty'])
  t.same(expected('[a]'), ['the path of a file'])
})

test('only a secret may be in a file', async t => {
  const [fault] = faultsOf(() => read('upstream: { userFile: secret, user: u, password: hunter2hunter2 }'))
  t.equal(fault?.path, 'upstream.userFile')
})

test('the effective settings show that there is a secret and not which', async t => {
  const settings = read('upstream: { user: u, password: hunter2hunter2 }\ntokens: [hunter3]')
  t.equal(renderSettings(schema, settings), 'upstream:\n  user: u\n  password: "***"\ntokens:\n  - "***"\n')
})

test('the published schema has the setting for the file and demands one of the two', async t => {
  t.match(published(schema), {
    properties: {
      upstream: {
        required: ['user'],
        allOf: [{ oneOf: [{ required: ['password'] }, { required: ['passwordFile'] }] }],
        properties: { password: { writeOnly: true, secret: undefined }, passwordFile: { type: 'string' } }
      }
    }
  })
})
