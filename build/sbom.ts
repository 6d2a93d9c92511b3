import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import pkg from '../package.json' with { type: 'json' }

/** A package in an SBOM; what is here is what is read of it (CycloneDX 1.5, "components"). */
export interface Component {
  'bom-ref': string
  name: string
  version: string
  properties?: { name: string; value: string }[]
  licenses?: readonly ({ license: { id?: string; name?: string } } | { expression: string })[]
}

/** An SBOM in CycloneDX JSON. */
export interface Sbom {
  serialNumber?: string
  metadata: { timestamp?: string; component: Component & { type: string } }
  components: Component[]
  dependencies: { ref: string; dependsOn: string[] }[]
}

const development = 'cdx:npm:package:development'

/**
 * The SBOM of what the program is made of, from the lock file: the same for the same lock file, so without a time and a
 * serial number. Of npm's list all but what only the development needs; npm's own `--omit dev` also leaves out what is
 * needed by both.
 */
export async function readSbom(folder: string): Promise<Sbom> {
  const args = ['sbom', '--sbom-format', 'cyclonedx', '--package-lock-only']
  const { stdout } = await promisify(execFile)('npm', args, { cwd: folder, maxBuffer: 64 * 1024 * 1024 })
  const sbom = withoutDevelopment(JSON.parse(stdout))
  const listed = new Set(sbom.components.map(({ name }) => name))
  const missing = Object.keys(pkg.dependencies).filter(name => !listed.has(name))
  if (missing.length > 0) throw new Error(`npm sbom does not list ${missing.join(', ')}`)
  return sbom
}

/** Leaves out what only the development needs, and what differs between two calls. */
export function withoutDevelopment({ serialNumber: _, metadata, components, dependencies, ...rest }: Sbom): Sbom {
  const { timestamp: __, ...stable } = metadata
  const kept = components.filter(({ properties = [] }) => !properties.some(({ name, value }) => name === development && value === 'true'))
  const refs = new Set([metadata.component['bom-ref'], ...kept.map(each => each['bom-ref'])])
  return {
    ...rest,
    // npm takes the name of the folder.
    metadata: { ...stable, component: { ...metadata.component, type: 'application', name: pkg.name } },
    components: kept,
    dependencies: dependencies
      .filter(({ ref }) => refs.has(ref))
      .map(({ ref, dependsOn }) => ({ ref, dependsOn: dependsOn.filter(each => refs.has(each)) }))
  }
}

/** An SBOM as it is written. */
export function sbomText(sbom: Sbom): string {
  return `${JSON.stringify(sbom, null, 2)}\n`
}
