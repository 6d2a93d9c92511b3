import { test } from 'tap'
import { Register } from './register.ts'

// The register judges crashes: if it accepted too much, no loss would ever show.

test('register: after an acknowledged change nothing older is acceptable', async t => {
  const register = new Register()
  register.write('a').done()
  register.write('b').done()
  t.same([...register.acceptable()], ['b'])
})

test('register: a change without a response may have happened or not', async t => {
  const register = new Register()
  register.write('a').done()
  register.write('b')
  t.same([...register.acceptable()], ['a', 'b'])
})

test('register: of two acknowledged changes that overlapped either may be the last', async t => {
  const register = new Register()
  const [first, second] = [register.write('a'), register.write('b')]
  second.done()
  first.done()
  t.same([...register.acceptable()], ['a', 'b'])
})

test('register: a change that was refused has not happened, and a deletion that was acknowledged has', async t => {
  const register = new Register()
  register.write('a').done()
  register.write('b').refused()
  t.equal(register.certain(), 'a')
  register.write(undefined).done()
  t.same([...register.acceptable()], [undefined])
})
