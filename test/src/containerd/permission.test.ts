import { chmod } from 'node:fs/promises'
import { test } from 'tap'
import { install } from '../../../src/containerd/install.ts'
import { folder } from '../install/scene.ts'
import { directory, fixed } from './scene.ts'

const unprivilegedUid = 65_534

test('a root that may not be written is named, with the uid and what to do', async t => {
  const root = await folder(t)
  await chmod(root, 0o555)
  const isRoot = process.geteuid?.() === 0
  if (isRoot) process.seteuid?.(unprivilegedUid)
  const uid = process.geteuid?.()
  try {
    await t.rejects(install(directory(fixed), { root }), {
      message: new RegExp(`^${root}.*: permission denied to uid ${uid}; .* run this as root$`)
    })
  } finally {
    if (isRoot) process.seteuid?.(0)
    await chmod(root, 0o755)
  }
})
