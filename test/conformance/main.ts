import { mkdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { RunOptions } from '../e2e/command.ts'
import { run } from '../e2e/command.ts'
import { launchRegistry } from '../e2e/registry.ts'
import type { Case } from './junit.ts'
import { parseJunit } from './junit.ts'

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

async function main(suite: string, folder: string): Promise<number> {
  const results = join(folder, 'results')
  await mkdir(join(folder, 'root'))
  const registry = await launchRegistry({ folder, root: join(folder, 'root') })
  const env: RunOptions['env'] = { ...switches, OCI_REGISTRY: registry.address, OCI_RESULTS_DIR: results }
  const outcome = await run(suite, [], { cwd: folder, env, limit: 600_000 })
  await registry.stop()
  say(outcome.stderr)
  const cases = parseJunit(await readFile(join(results, 'junit.xml'), 'utf8').catch(() => ''))
  const failed = cases.filter(({ status }) => status === 'failure' || status === 'error')
  for (const each of cases.filter(({ status }) => status === 'skipped')) say(`skipped: ${each.name}\n  ${firstLine(each)}\n`)
  for (const each of failed) say(describe(each))
  const skipped = cases.filter(({ status }) => status === 'skipped').length
  // A suite that ended badly without a failed test, or wrote no report, did not succeed.
  const failures = failed.length === 0 && (outcome.code !== 0 || cases.length === 0) ? 1 : failed.length
  if (failures > 0) say(`the registry's last words:\n${registry.log().slice(-logShown)}\n`)
  say(`${cases.length - failed.length - skipped} passed, ${failures} failed, ${skipped} skipped\n`)
  return failures === 0 ? 0 : 1
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
