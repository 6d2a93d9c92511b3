import { hashSync, verify } from '@node-rs/bcrypt'
import { test } from 'tap'
import { type HtpasswdEntry, parseHtpasswd } from '../../../src/access/htpasswd.ts'
import { createUserList, type UserList } from '../../../src/access/user-list.ts'

const entry = (user: string, cost: number): HtpasswdEntry => ({ user, cost, hash: hashSync(user, 4).replace('$04$', `$0${cost}$`) })

const work = (users: UserList, user: string): number =>
  [...users.hashesOf(user), ...users.decoysOf(user)].reduce((sum, hash) => sum + 2 ** Number(hash.split('$')[2]), 0)

test('user list: a failure costs the same work for unknown users, users with two passwords and users of another cost', async t => {
  const users = createUserList([
    entry('twice', 6),
    entry('twice', 6),
    entry('cheap', 4),
    entry('dear', 7),
    entry('odd', 5),
    entry('odd', 4)
  ])
  for (const user of ['twice', 'cheap', 'dear', 'odd', 'nobody', '__proto__', '']) t.equal(work(users, user), 2 ** 7, user)
})

test('user list: a decoy is a hash that the parser of the file accepts, and that no tried password matches', async t => {
  const users = createUserList([entry('ana', 5)])
  const [decoy = ''] = users.decoysOf('nobody')
  t.equal(parseHtpasswd(`x:${decoy}`).length, 1)
  t.notOk(await verify('', decoy))
  t.notOk(await verify('ana', decoy))
})

test('user list: without entries there are neither hashes nor decoys', async t => {
  const users = createUserList([])
  t.strictSame(users.hashesOf('ana'), [])
  t.strictSame(users.decoysOf('ana'), [])
})
