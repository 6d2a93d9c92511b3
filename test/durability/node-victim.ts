// Usage: node-victim.ts ROOT SETTINGS STEP    applies and kills itself after that step, before the next one begins.
import { readFileSync } from 'node:fs'
import { loadWanted } from '../../config/node/wanted.ts'
import { applyNode } from '../../src/node/node.ts'

const [root = '', settings = '', step = ''] = process.argv.slice(2)
const wanted = readFileSync(settings, 'utf8') === '' ? undefined : loadWanted(settings, Date.now())
let taken = 0
for await (const _ of applyNode(wanted, { root, tools: {}, now: Date.now() }))
  if (++taken === Number(step)) process.kill(process.pid, 'SIGKILL')
