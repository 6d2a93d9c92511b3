// What `src/main.js` is made of: runs one of the scripts beside it.
import { join } from 'node:path'
import { compile, type Program } from './program.ts'

declare const PROGRAM: string
declare const AGENT: string

const program: Program = compile(join(__dirname, process.argv[2] === 'agent' ? AGENT : PROGRAM)).runInThisContext()
program(require, module)
