import { mkdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { RunOptions } from '../e2e/command.ts'
import { run } from '../e2e/command.ts'
import { target } from '../e2e/registry.ts'
import type { Case } from './junit.ts'
import { parseJunit } from './junit.ts'
import type { Scene } from './scene.ts'
import { scenes } from './scene.ts'

// "dev" is the newest text of the spec with all of its features on; every category and both digest algorithms are on by default.
// Sparse manifests stay off: the spec lets a registry refuse what names blobs that it does not have, and this one does.
const switches = {
  OCI_VERSION: 'dev',
  OCI_TLS: 'disabled',
  OCI_REPO1: 'conformance/repo1',
  OCI_REPO2: 'conformance/repo2',
  OCI_LOG: 'error',
  OCI_DATA_SPARSE: 'false',
  OCI_DATA_SHA512: 'true'
}

// Enough for the requests of one test, without a whole upload of random bytes.
const logShown = 4000

const [suite, folder] = process.argv.slice(2)
if (suite === undefined || folder === undefined) throw new Error('usage: main.ts SUITE FOLDER')
process.exitCode = await main(suite, folder)

interface Count {
  passed: number
  failed: number
  skipped: number
}

async function main(suite: string, folder: string): Promise<number> {
  const total: Count = { passed: 0, failed: 0, skipped: 0 }
  for (const [title, start] of Object.entries(scenes)) {
    if (target !== 'product' && title !== 'Local') {
      say(`skipped: ${title}: ${target} is tried, which has no such mode\n`)
      total.skipped++
      continue
    }
    const own = join(folder, title.replaceAll(' ', '-'))
    await mkdir(own)
    const scene = await start(own)
    if ('absent' in scene) {
      say(`skipped: ${title}: ${scene.absent}\n`)
      total.skipped++
      continue
    }
    const count = await runOn(scene, { suite, folder: own })
    say(`${title}: ${inWords(count)}${scene.note()}\n\n`)
    for (const key of ['passed', 'failed', 'skipped'] as const) total[key] += count[key]
  }
  say(`${inWords(total)}\n`)
  return total.failed === 0 ? 0 : 1
}

async function runOn(scene: Scene, { suite, folder }: { suite: string; folder: string }): Promise<Count> {
  const results = join(folder, 'results')
  const env: RunOptions['env'] = { ...switches, ...scene.switches, OCI_REGISTRY: scene.address, OCI_RESULTS_DIR: results }
  const outcome = await run(suite, [], { cwd: folder, env, limit: 600_000 }).finally(() => scene.stop())
  say(outcome.stderr)
  const cases = parseJunit(await readFile(join(results, 'junit.xml'), 'utf8').catch(() => ''))
  const broken = cases.filter(({ status }) => status === 'failure' || status === 'error')
  for (const each of cases.filter(({ status }) => status === 'skipped')) say(`skipped: ${each.name}\n  ${firstLine(each)}\n`)
  for (const each of broken) say(describe(each))
  const skipped = cases.filter(({ status }) => status === 'skipped').length
  // A suite that ended badly without a failed test, or wrote no report, did not succeed.
  const failed = broken.length === 0 && (outcome.code !== 0 || cases.length === 0) ? 1 : broken.length
  if (failed > 0) say(`the registry's last words:\n${scene.log().slice(-logShown)}\n`)
  return { passed: cases.length - broken.length - skipped, failed, skipped }
}

function inWords({ passed, failed, skipped }: Count): string {
  return `${passed} passed, ${failed} failed, ${skipped} skipped`
}

function describe({ name, status, complaint, log }: Case): string {
  return `${status}: ${name}\n${complaint}\n${log.slice(0, logShown)}\n\n`
}

function firstLine({ complaint, log }: Case): string {
  return (complaint || log).split('\n')[0] ?? ''
}

function say(text: string): void {
  process.stdout.write(text)
}
