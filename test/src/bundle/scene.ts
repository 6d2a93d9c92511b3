import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import type { Test } from 'tap'
import { Bundle } from '../../../src/bundle/bundle.ts'
import { faultText } from '../../../src/bundle/faults.ts'
import { type BundlePlan, planOf } from '../../../src/bundle/plan.ts'
import { type BundleVerifyEvent, verifyBundle } from '../../../src/bundle/verify.ts'
import { BundleMaker, type PackedEntry, writeArchive } from '../../support/bundle.ts'
import { folder } from '../support.ts'
import { never } from '../upstream/ask.ts'

/** A bundle as d8 makes it: the platform, a module with its releases, a database; two images share a layer. */
export async function madeBundle(t: Test): Promise<{ place: string; maker: BundleMaker }> {
  const place = folder(t)
  const maker = new BundleMaker()
  const shared = randomBytes(100_000)
  maker.addImage('', 'v1.70.0', { layers: [shared, Buffer.from('platform')] })
  maker.addImage('install', 'v1.70.0', { layers: [shared] })
  maker.addImage('release-channel', 'stable')
  maker.addImage('modules/console', 'v1.0.0')
  maker.addImage('modules/console/release', 'stable')
  maker.addImage('security/trivy-db', '2')
  await writeArchive(join(place, 'platform.tar'), maker.entries(['', 'install', 'release-channel']))
  await writeArchive(join(place, 'module-console.tar'), maker.entries(['modules/console', 'modules/console/release']))
  await writeArchive(join(place, 'security.tar'), maker.entries(['security/trivy-db']))
  return { place, maker }
}

/** A bundle of one archive with these entries. */
export async function oneArchive(t: Test, entries: readonly PackedEntry[], name = 'platform.tar'): Promise<string> {
  const place = folder(t)
  await writeArchive(join(place, name), entries)
  return place
}

/** An opened bundle, closed with the test. */
export async function opened(
  t: Test,
  ...paths: string[]
): Promise<{ bundle: Bundle; plan: BundlePlan; faults: string[]; notices: string[] }> {
  const bundle = await Bundle.open({ paths, signal: never() })
  t.teardown(() => bundle[Symbol.asyncDispose]())
  const plan = await planOf(bundle, never())
  const faults = [...bundle.faults, ...plan.faults, ...plan.lacking].map(faultText)
  return { bundle, plan, faults, notices: [...bundle.notices, ...plan.notices].map(faultText) }
}

/** What a verification reports, without progress. */
export async function verified(t: Test, ...paths: string[]): Promise<BundleVerifyEvent[]> {
  const { bundle, plan } = await opened(t, ...paths)
  const events = await Array.fromAsync(verifyBundle(bundle, plan, never()))
  return events.filter(each => each.type !== 'progress')
}
