import type { NodePlan, NodeStep } from './plan.ts'
import { digestOfState } from './record.ts'

/** A step in one line, without secrets. */
export function nameOfStep(step: NodeStep): string {
  switch (step.kind) {
    case 'import image':
      return `import image ${step.reference} from ${step.archive}`
    case 'make directory':
      return `make directory /${step.path} for uid ${step.uid}`
    case 'give directory':
      return `give directory /${step.path} to uid ${step.uid}`
    case 'keep':
      return `keep /${step.path} for restore`
    case 'forget':
      return `forget /${step.path}`
    case 'record':
      return step.what === 'claim' ? 'record what is going to be owned' : 'record what is owned'
    case 'remove record':
      return 'remove the record'
    case 'await':
      return `wait until ${step.what} answers`
    case 'restart containerd':
      return step.kind
    default:
      return `${step.kind} /${step.path}`
  }
}

/** A plan for people: a line per step, then what keeps it from being taken. */
export function describeNodePlan({ steps, blockers, warnings }: NodePlan): string {
  const lines = [
    ...warnings.map(each => `warning: ${each}`),
    ...blockers.map(each => `blocked: ${each}`),
    ...steps.map(step => `${nameOfStep(step)}${difference(step)}`)
  ]
  return lines.map(line => `${line}\n`).join('')
}

/** A plan for programs: of files only digests, since they hold secrets. */
export function planAsJson({ steps, blockers, warnings }: NodePlan): object {
  return { steps: steps.map(stepAsJson), blockers, warnings }
}

/** A step for programs. */
export function stepAsJson(step: NodeStep): object {
  const { kind } = step
  const path = 'path' in step ? { path: `/${step.path}` } : {}
  const files = {
    ...('before' in step && step.before ? { before: digestOfState(step.before) } : {}),
    ...('after' in step ? { after: digestOfState(step.after), mode: step.after.mode.toString(8).padStart(4, '0') } : {})
  }
  return { kind, ...path, ...files, step: nameOfStep(step) }
}

function difference(step: NodeStep): string {
  if (step.kind !== 'write') return ''
  const { before, after } = step
  if (!before) return ` (new, ${after.text.length} bytes)`
  if (before.text === after.text) return ' (its mode or owner)'
  return ` (${before.text.length} → ${after.text.length} bytes)`
}
