import { verifyBundle } from '../../bundle/verify.ts'
import { bytesText } from '../../why/text.ts'
import { printEvents } from '../run-operation.ts'
import { calm, findingText, type MirrorContext, openBundle } from './open.ts'

/** Computes every digest of a bundle; resolves to whether it is sound and complete in itself. */
export async function verify(paths: readonly string[], { file }: { file?: string[] }, context: MirrorContext): Promise<boolean> {
  await using opened = await openBundle(paths, file, context.signal)
  const events = calm(verifyBundle(opened.bundle, opened.plan, context.signal))
  const last = await printEvents(
    events,
    event => {
      if (event.type === 'progress') return undefined
      if (event.type !== 'done') return findingText(event)
      const { archives, repositories, images, verified, bytes, faults } = event
      const counts = `${archives} archives, ${repositories} repositories, ${images} images; ${verified} digests of ${bytesText(bytes)} were computed`
      return faults === 0 ? `${counts}. The bundle is complete and sound.` : `${counts}. NOT sound: ${faults} faults.`
    },
    context
  )
  return last?.type === 'done' && last.faults === 0
}
