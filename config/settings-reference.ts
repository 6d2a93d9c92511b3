import { agentSettingsTable } from './agent/compiled.ts'
import { settingsTable } from './compiled.ts'
import { ReloadPolicies } from './read/reload-policy.ts'
import type { SettingSchema } from './read/walk.ts'

/** The text of docs/settings.md: all settings by section. */
export const renderSettingsReference = (): string => `# Settings

All settings of the configuration file, in YAML, which \`registry serve --config\` reads. The file needs only what differs from the defaults. A setting marked "or \`…File\`"
can be in a file of its own: \`passwordFile: /run/secrets/password\` instead of \`password\`. \`registry config check\` names each mistake with its line,
\`registry config effective\` prints the configuration with all defaults. \`npm run schema\` writes this page.

The last column is what a running process does with a change of the file (it is noticed within seconds, or at once after SIGHUP): **live**: takes it at once; **backends**: takes it for
the requests that follow, and forgets what it knew of upstreams, such as tokens; **restart**: refuses the whole change until it is restarted.
${sections(settingsTable)}`

/** The text of docs/agent-settings.md: all settings of the agent. */
export const renderAgentReference = (): string => `# Settings of the agent

All settings of the file that \`registry agent --config\` reads, in YAML; [config/examples/agent.yaml](../config/examples/agent.yaml) is a commented one. All else is as for
[the registry's settings](settings.md): a setting marked "or \`…File\`" can be in a file of its own, \`registry config check\` names each mistake with its line, a change of the file, or of a file
that it names, is taken within seconds or at once after SIGHUP (last column), and \`npm run schema\` writes this page. A file that cannot be used changes nothing; one that cannot be used when
the agent starts is replaced by the last good configuration.
${sections(agentSettingsTable)}`

const sections = (root: SettingSchema): string => {
  const policies = new ReloadPolicies(root)
  const texts = Object.entries(root.properties ?? {}).map(
    ([key, section]) => `\n## ${key}\n\n${section.description}\n\n${table(section, key, policies)}\n`
  )
  return texts.join('')
}

const table = (section: SettingSchema, path: string, policies: ReloadPolicies): string =>
  ['| setting | value | default | meaning | change |', '| --- | --- | --- | --- | --- |', ...rows(section, path, policies)].join('\n')

const rows = (schema: SettingSchema, path: string, policies: ReloadPolicies): string[] =>
  Object.entries(schema.properties ?? {}).flatMap(([key, setting]) => {
    const here = `${path}.${key}`
    const inside = entryOf(setting)
    if (inside) return [row(setting, here, policies), ...rows(inside, `${here}.<host>`, policies)]
    if (setting.items?.properties && setting.items.type === 'object') {
      return [row({ ...setting, items: {} }, here, policies), ...rows(setting.items, `${here}[]`, policies)]
    }
    if (!setting.properties || setting.type !== 'object') return [row(setting, here, policies)]
    return [sectionRow(setting, here), ...rows(setting, here, policies)]
  })

// The schema of the values of a mapping with free keys, if the values are mappings of settings.
const entryOf = ({ additionalProperties }: SettingSchema): SettingSchema | undefined =>
  typeof additionalProperties === 'object' && additionalProperties.properties ? additionalProperties : undefined

const sectionRow = ({ description }: SettingSchema, path: string): string => `| \`${path}\` | section | | ${cell(description)} | |`

const row = (setting: SettingSchema, path: string, policies: ReloadPolicies): string => {
  const name = setting.secret || setting.orFile ? `\`${path}\` or \`…File\`` : `\`${path}\``
  const value = setting.default === undefined ? '' : `\`${JSON.stringify(setting.default).replaceAll('"', '')}\``
  const expects = setting.items?.expects ? `${setting.expects}, each ${setting.items.expects}` : setting.expects
  return `| ${name} | ${cell(expects)} | ${value} | ${cell(setting.description)} | ${policies.of(path)} |`
}

// A bar would end the cell of the table, asterisks would be emphasis, and <root> an HTML tag.
const cell = (text = ''): string => text.replaceAll(/[|*]/g, '\\$&').replaceAll('<', '&lt;')
