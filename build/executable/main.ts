// What the single executable runs. Its parts are assets (Node's "Single executable applications"), since it has no folder
// to load them from.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { getAsset, getRawAsset } from 'node:sea'
import { Script } from 'node:vm'
import type { Program } from '../program.ts'

/** The environment of a start, which the C library and libuv read before the first line of a program runs. */
declare const ENVIRONMENT: Record<string, string>
/** The names of the parts that are loaded when they are needed, with the assets that hold them. */
declare const SCRIPTS: Record<string, string>
declare const NATIVE_MODULES: Record<string, string>

const builtin = createRequire(process.execPath)
const loaded = new Map<string, unknown>()

function load(name: string): unknown {
  if (loaded.has(name)) return loaded.get(name)
  const script = SCRIPTS[name]
  const native = NATIVE_MODULES[name]
  if (script === undefined && native === undefined) return builtin(name)
  const module = { exports: {} }
  loaded.set(name, module.exports)
  if (script !== undefined) {
    new Script(`(function (require, module, exports) {${getAsset(script, 'latin1')}\n})`, { filename: script }).runInThisContext()(
      load,
      module,
      module.exports
    )
  } else openNative(native ?? '', module)
  loaded.set(name, module.exports)
  return module.exports
}

// The dynamic linker opens files only. Once it is mapped, the file is not needed.
function openNative(asset: string, module: object): void {
  mkdirSync(tmpdir(), { recursive: true })
  const folder = mkdtempSync(join(tmpdir(), 'registry-'))
  try {
    const file = join(folder, asset)
    writeFileSync(file, new Uint8Array(getRawAsset(asset)))
    process.dlopen(module, file)
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

const missing = Object.entries(ENVIRONMENT).filter(([name]) => process.env[name] === undefined)
// Commands end before it matters.
const isLasting = process.argv[2] === 'serve' || process.argv[2] === 'agent'
if (isLasting && missing.length > 0 && process.execve) {
  process.execve(process.execPath, [process.execPath, ...process.argv.slice(2)], { ...process.env, ...Object.fromEntries(missing) })
}
const program = new Script(getAsset('program.js', 'latin1'), {
  filename: 'program.js',
  cachedData: new Uint8Array(getRawAsset('program.js.cache'))
}).runInThisContext() as Program
program(load as NodeJS.Require, { exports: {} } as NodeJS.Module)
