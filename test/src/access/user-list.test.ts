import { hashSync, verify } from '@node-rs/bcrypt'
import { test } from 'tap'
import { type HtpasswdEntry, parseHtpasswd } from '../../../src/access/htpasswd.ts'
import { createUserList, type UserList } from '../../../src/access/user-list.ts'

const entry = (user: string, cost: number): HtpasswdEntry => ({ user, cost, hash: hashSync(user, 4).replace('$04$', `$0${cost}$`) })

const work = (roll: UserList, user: string): number =>
  [...roll.hashesOf(user), ...roll.decoysOf(user)].reduce((sum, hash) => sum + 2 ** Number(hash.split('$')[2]), 0)

test('roll: a failure costs the same work for unknown users, users with two passwords and users of another cost', async t => {
  const roll = createUserList([entry('twice', 6), entry('twice', 6), entry('cheap', 4), entry('dear', 7), entry('odd', 5), entry('odd', 4)])
  for (const user of ['twice', 'cheap', 'dear', 'odd', 'nobody', '__proto__', '']) t.equal(work(roll, user), 2 ** 7, user)
})

test('roll: a decoy is a hash that the parser of the file takes, and that no tried password opens', async t => {
  const roll = createUserList([entry('ana', 5)])
  const [decoy = ''] = roll.decoysOf('nobody')
  t.equal(parseHtpasswd(`x:${decoy}`).length, 1)
  t.notOk(await verify('', decoy))
  t.notOk(await verify('ana', decoy))
})

test('roll: without users there is nothing to hide', async t => {
  const roll = createUserList([])
  t.strictSame(roll.hashesOf('ana'), [])
  t.strictSame(roll.decoysOf('ana'), [])
})
