import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Test } from 'tap'
import { stringify } from 'yaml'
import { folder, unbounded, until } from '../src/support.ts'
import { program } from '../support/program.ts'
import { prefix } from './scene.ts'

/** The program as it is started in earnest, ended with the test; `write` changes its file. */
export async function launch(t: Test, registry: Record<string, unknown>, sections: Record<string, unknown> = {}) {
  const place = folder(t)
  const file = join(place, 'registry.yaml')
  const write = (given: Record<string, unknown>) => {
    const server = { listen: '127.0.0.1:0', admin: '127.0.0.1:0', path: prefix.here, drain: '1s' }
    const storage = { ...unbounded, filesystem: { root: join(place, 'root') } }
    writeFileSync(file, stringify({ registry: given, server, storage, ...sections }))
  }
  write(registry)
  const child = spawn(process.execPath, [...program, 'serve', '--config', file], {
    env: { PATH: process.env['PATH'] },
    stdio: ['ignore', 'pipe', 'inherit']
  })
  let output = ''
  child.stdout.on('data', (chunk: Buffer) => {
    output += chunk
  })
  const ended = once(child, 'exit')
  t.teardown(async () => {
    child.kill('SIGKILL')
    await ended
  })
  const lines = (): Record<string, string>[] =>
    output
      .split('\n')
      .filter(each => each.endsWith('}'))
      .map(each => JSON.parse(each))
  const logged = (msg: string) => lines().find(each => each['msg'] === msg)
  await until(() => logged('the registry is ready'))
  const ready = logged('the registry is ready')
  return { child, root: join(place, 'root'), ended, write, logged, listen: ready?.['listen'] ?? '', admin: ready?.['admin'] ?? '' }
}
