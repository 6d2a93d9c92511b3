// Usage: warm.ts <script> <arguments>...
// Runs a script, and when it ends writes down what V8 has compiled by then: what a start needs, and no more.
import { createRequire } from 'node:module'
import { compile, type Program, writeCache } from './program.ts'

const [node = '', , script = '', ...rest] = process.argv
process.argv = [node, script, ...rest]
const compiled = compile(script)
process.on('exit', code => {
  if (code === 0) writeCache(script, compiled)
})
const program: Program = compiled.runInThisContext()
program(createRequire(script), { exports: {} } as NodeJS.Module)
