import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import pkg from '../package.json' with { type: 'json' }

/** The flags of a start. V8 takes the cache only where flags like these are the same. */
export const startFlags: readonly string[] =
  /\bnode ((?:--\S+ )*)src\/main\.ts/.exec(pkg.scripts.start)?.[1]?.trim().split(' ').filter(Boolean) ?? []

/** A command that serves until it is stopped. */
export type LastingCommand = 'serve' | 'agent'

/** Serves with the script until one request is answered, which leaves the cache of it behind. */
export async function warmUp(script: string, command: LastingCommand): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'registry-build-'))
  const config = join(folder, 'registry.yaml')
  await writeFile(config, command === 'serve' ? settings(folder) : agentSettings)
  const child = spawn(process.execPath, [...startFlags, join(import.meta.dirname, 'warm.ts'), script, command, '--config', config], {
    stdio: ['ignore', 'pipe', 'inherit']
  })
  const ended = once(child, 'close')
  const said: string[] = []
  try {
    for await (const line of createInterface(child.stdout)) {
      said.push(line)
      const [, listen] = /"listen":"([^"]+)"/.exec(line) ?? []
      if (listen === undefined) continue
      await (await fetch(`http://${listen}/v2/`)).text()
      child.kill('SIGTERM')
    }
  } finally {
    child.kill('SIGKILL')
    await ended
    await rm(folder, { recursive: true, force: true })
  }
  if (child.exitCode !== 0) throw new Error(`the program ended with ${child.exitCode ?? child.signalCode}: ${said.join('\n')}`)
}

// Proxy has all parts; its upstream is not asked before somebody pulls.
function settings(folder: string): string {
  return JSON.stringify({
    registry: { mode: 'Proxy', proxy: { imagesRepo: 'registry.example.org/images' } },
    server: { listen: '127.0.0.1:0', admin: '127.0.0.1:0', control: join(folder, 'control.sock') },
    storage: { filesystem: { root: join(folder, 'root') } }
  })
}

// Nothing listens there.
const agentSettings = JSON.stringify({
  agent: {
    listen: '127.0.0.1:0',
    admin: '127.0.0.1:0',
    routes: [{ names: ['registry.example.org'], pools: [{ replicas: [{ address: '127.0.0.1:1' }], scheme: 'HTTP' }] }]
  }
})
