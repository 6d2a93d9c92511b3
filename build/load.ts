// Usage: load.ts <script> <command>
// Runs a script to its first `await` and writes what V8 has compiled by then. With fixed seeds (`reproducible.ts`) that
// is the same each time; what a whole start compiles depends on the order in which files and sockets are ready.
import { createRequire } from 'node:module'
import { compile, type Program, writeCache } from './program.ts'

const [, , script = '', command = ''] = process.argv
process.argv = ['node', 'registry', command, '--config', '/dev/null/absent']
const compiled = compile(script)
const program: Program = compiled.runInThisContext()
program(createRequire(script), { exports: {} } as NodeJS.Module)
writeCache(script, compiled)
process.exit(0)
