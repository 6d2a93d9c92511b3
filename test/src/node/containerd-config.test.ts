// The attack: a configuration of containerd that is written in a way that a careless edit would break or change.
import { parse } from 'smol-toml'
import { test } from 'tap'
import { registryTable, withConfigPath } from '../../../src/node/host/containerd-config.ts'

const path = '/etc/containerd/registry.d'
const cri = 'plugins."io.containerd.grpc.v1.cri"'

const edited: Record<string, [before: string, after: string]> = {
  'no registry table': [
    '# mine\nversion = 2\nroot = "/data"\n',
    `# mine\nversion = 2\nroot = "/data"\n\n[${cri}.registry]\n  config_path = "${path}"\n`
  ],
  'an empty config_path': [
    `version = 2\n[${cri}]\n  sandbox_image = "pause" # mine\n  [${cri}.registry]\n    config_path = ""\n    [${cri}.registry.headers]\n`,
    `version = 2\n[${cri}]\n  sandbox_image = "pause" # mine\n  [${cri}.registry]\n    config_path = "${path}"\n    [${cri}.registry.headers]\n`
  ],
  'a registry table without it': [
    `version = 2\n[${cri}.registry]\n\n[${cri}.cni]\nconf_dir = "/etc/cni"\n`,
    `version = 2\n[${cri}.registry]\n  config_path = "${path}"\n\n[${cri}.cni]\nconf_dir = "/etc/cni"\n`
  ],
  'the format of containerd 2': [
    "version = 3\n[plugins.'io.containerd.cri.v1.images'.registry]\n  config_path = ''\n",
    `version = 3\n[plugins.'io.containerd.cri.v1.images'.registry]\n  config_path = "${path}"\n`
  ],
  'the first format': ['root = "/data"\n', `root = "/data"\n\n[plugins.cri.registry]\n  config_path = "${path}"\n`],
  'a config_path of another plugin': [
    'version = 2\n[plugins."io.containerd.transfer.v1.local"]\n  config_path = "/other"\n',
    `version = 2\n[plugins."io.containerd.transfer.v1.local"]\n  config_path = "/other"\n\n[${cri}.registry]\n  config_path = "${path}"\n`
  ]
}

for (const [what, [before, after]] of Object.entries(edited)) {
  test(`containerd's file with ${what}: config_path is set, and every other line stays`, async t => {
    t.equal(withConfigPath(before, path), after)
    t.equal(registryTable(parse(after))?.['config_path'], path)
    t.equal(withConfigPath(after, path), after, 'once')
  })
}

const refused: Record<string, string> = {
  'an inline table': `version = 2\n[${cri}]\n  registry = { config_path = "" }\n`,
  'dotted keys': `version = 2\n[${cri}]\n  registry.config_path = ""\n`,
  'plugins in one line': 'version = 2\nplugins = { "io.containerd.grpc.v1.cri" = { registry = {} } }\n',
  'a format that is not known': 'version = 9\n',
  'a multi-line text that looks like the table': `version = 2\nroot = """\n[${cri}.registry]\n"""\n`
}

for (const [what, before] of Object.entries(refused)) {
  test(`containerd's file with ${what}: it is left alone`, async t => {
    t.equal(withConfigPath(before, path), undefined)
  })
}

test("containerd's file that is absent is made with nothing but config_path", async t => {
  for (const version of [2, 3] as const) {
    const made = parse(withConfigPath(undefined, path, version) ?? '')
    t.equal(made['version'], version)
    t.equal(registryTable(made)?.['config_path'], path)
  }
})
