import { endpointOf, names } from '../objects/names.ts'
import { splitImagesRepo, type UpstreamParams } from '../settings/params.ts'
import { type CheckedRegistry, checkRequest } from './check-request.ts'
import type { Walk } from './walk.ts'

const type = 'RegistryContainsRequiredImages'

/** The upstream has the required images. */
export function checkUpstream(walk: Walk, upstream: UpstreamParams): boolean {
  const { checkMode } = walk.params
  return check(walk, [{ name: splitImagesRepo(upstream.imagesRepo).address, ...upstream }], { checkMode, stored: false })
}

/** Every replica has them, asked by its node's address. */
export function checkReplicas(walk: Walk, { stored }: { stored: boolean }): boolean {
  const { pki, users } = walk.observed.material
  const { username, password } = { username: users['ro']?.name ?? '', password: users['ro']?.password ?? '' }
  const registries = walk.replicas.flatMap(({ name, address }): CheckedRegistry[] => {
    if (address === undefined) return []
    const imagesRepo = `${endpointOf(address)}${names.path}`
    return [{ name, imagesRepo, scheme: 'https', username, password, ...(pki ? { ca: pki.ca.cert } : {}) }]
  })
  return check(walk, registries, { checkMode: 'Default', stored })
}

/**
 * Before replicas that cache lose their upstream they must have everything themselves: until then pulls go on from the
 * upstream. Elsewhere there is nothing to lose, and `NodeServicesReady` comes first.
 */
export function checkStored(walk: Walk): boolean {
  return walk.state.node_services?.mode !== 'Proxy' || checkReplicas(walk, { stored: true })
}

function check(walk: Walk, registries: readonly CheckedRegistry[], how: { checkMode: 'Default' | 'Relax'; stored: boolean }): boolean {
  const { observed, state, conditions } = walk
  const request = checkRequest(registries, { ...how, images: observed.requiredImages })
  walk.check = request
  const status = observed.check?.version === request.version ? observed.check : undefined
  if (status?.ready) {
    state.checked = request.subject
    return walk.ready(type, { reason: 'Ready', message: status.message })
  }
  // A leader that has just begun knows of no check, and a changed list of images is checked beside what runs: the check
  // that ended well counts until an image is missing.
  const before = conditions.find(type)
  if (state.checked === request.subject && before?.status === 'True' && !status?.failing)
    return walk.ready(type, { reason: 'Ready', message: before.message })
  delete state.checked
  return walk.waits(type, status?.message ?? 'Initializing')
}
