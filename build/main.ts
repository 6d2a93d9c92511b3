// What `src/main.js` is made of: runs the script beside it.
import { join } from 'node:path'
import { compile, type Program } from './program.ts'

declare const PROGRAM: string

const program: Program = compile(join(__dirname, PROGRAM)).runInThisContext()
program(require, module)
