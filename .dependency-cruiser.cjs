// Who may import whom: the picture is in docs/architecture.md.
const folder = (name, from, allowed) => ({
  name,
  severity: 'error',
  comment: `${name} may import only ${allowed.join(', ') || 'itself'}`,
  from: { path: from },
  to: { path: '^(config|storage|src)/', pathNot: allowed, dependencyTypesNot: ['type-only'] }
})
const packages = (name, from, allowed) => ({
  name: `${name}-packages`,
  severity: 'error',
  comment: `${name} may use only ${allowed.join(', ') || 'no package'}`,
  from: { path: from },
  to: { path: 'node_modules/', pathNot: allowed.map(p => `node_modules/${p}/`) }
})
const rule = (name, from, own, deps) => [folder(name, from, own), packages(name, from, deps)]

module.exports = {
  forbidden: [
    { name: 'no-cycles', severity: 'error', from: {}, to: { circular: true, viaOnly: { dependencyTypesNot: ['type-only'] } } },
    { name: 'no-unresolved', severity: 'error', from: {}, to: { couldNotResolve: true } },
    {
      name: 'no-dev-dependency',
      severity: 'error',
      from: { path: '^(config|storage|src)/' },
      to: { dependencyTypes: ['npm-dev'], pathNot: 'node_modules/@types/' }
    },
    ...rule('config', '^config/', ['^config/'], ['typebox', 'ajv', 'yaml']),
    ...rule('storage', '^storage/(?!s3/)', ['^storage/'], []),
    ...rule('s3', '^storage/s3/', ['^storage/'], ['@aws-sdk', '@smithy']),
    ...rule('http', '^src/http/', ['^src/http/'], []),
    ...rule('oci', '^src/oci/', ['^src/oci/'], []),
    ...rule('copy', '^src/copy/', ['^src/(copy|oci)/'], []),
    ...rule('kubernetes', '^src/kubernetes/', ['^src/kubernetes/'], ['undici', 'yaml']),
    ...rule(
      'controller',
      '^src/controller/',
      ['^src/(controller|kubernetes|oci|upstream|telemetry)/', '^src/node/pki/', '^config/(read|rules|values)/'],
      ['yaml', '@node-rs/bcrypt']
    ),
    ...rule('bundle', '^src/bundle/', ['^src/(bundle|copy|oci)/', '^storage/(semaphore|keyed-mutex)\\.ts$'], []),
    ...rule('telemetry', '^src/telemetry/', ['^src/telemetry/'], ['pino', 'prom-client']),
    ...rule('content', '^src/content/', ['^src/(content|oci|telemetry)/', '^storage/'], ['lru-cache']),
    ...rule('sync', '^src/sync/', ['^src/(sync|oci)/', '^storage/layout\\.ts$'], []),
    ...rule('backend', '^src/backend/', ['^src/(backend|oci|content|upstream|telemetry)/'], ['lru-cache']),
    ...rule('agent', '^src/agent/', ['^src/(agent|backend|oci|upstream)/', '^src/access/(basic|challenge)\\.ts$'], ['lru-cache']),
    ...rule('upstream', '^src/upstream/', ['^src/(upstream|oci|telemetry)/', '^storage/semaphore\\.ts$'], ['undici', 'lru-cache', 'tldts']),
    ...rule(
      'why',
      '^src/why/',
      ['^src/(why|oci|content|upstream|backend)/', '^src/access/(grants|repository-pattern)\\.ts$', '^storage/', '^config/read/near\\.ts$'],
      []
    ),
    ...rule('operations', '^src/operations/', ['^src/(operations|why|oci|content|upstream|backend)/', '^storage/'], []),
    ...rule(
      'commands',
      '^src/commands/',
      ['^src/(commands|why|ports|kubernetes|controller|containerd|operations|bundle|oci|node)/', '^config/'],
      ['commander', 'yaml']
    ),
    ...rule('install', '^src/install/', ['^src/install/'], []),
    ...rule('containerd', '^src/containerd/', ['^src/(containerd|install)/'], ['smol-toml']),
    ...rule(
      'node',
      '^src/node/',
      ['^src/(node|containerd|install)/', '^src/access/htpasswd\\.ts$', '^config/', '^storage/fs/lock\\.ts$', '^storage/layout\\.ts$'],
      ['@node-rs/bcrypt', '@peculiar/x509', 'reflect-metadata', 'smol-toml', 'yaml']
    ),
    {
      name: 'node-alone',
      severity: 'error',
      comment: 'only the node command loads src/node, and the controller issues certificates with it',
      from: { path: '^(config|storage|src)/', pathNot: '^src/(node|commands)/|^src/controller/cluster/generate\\.ts$' },
      to: { path: '^src/node/' }
    },
    {
      name: 'node-x509-alone',
      severity: 'error',
      comment: 'only src/node/pki/issue.ts uses @peculiar/x509, and it is imported dynamically',
      from: { pathNot: '^src/node/pki/issue\\.ts$' },
      to: { path: 'node_modules/(@peculiar|reflect-metadata)/' }
    },
    ...rule(
      'access',
      '^src/access/',
      ['^src/(access|oci|telemetry)/', '^storage/(semaphore|keyed-mutex)\\.ts$'],
      ['@node-rs/bcrypt', 'lru-cache', 'jose']
    ),
    ...rule('api', '^src/api/', ['^src/(api|oci|telemetry)/', '^src/backend/backend\\.ts$'], ['fastify']),
    ...rule(
      'ports',
      '^src/ports/',
      ['^src/(ports|oci|telemetry)/', '^storage/(semaphore|keyed-mutex)\\.ts$'],
      ['fastify', 'prom-client', 'pino']
    )
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    exclude: { path: '^(dist|test)/' },
    tsPreCompilationDeps: true,
    tsConfig: { fileName: 'tsconfig.json' },
    enhancedResolveOptions: { exportsFields: ['exports'], conditionNames: ['import', 'node', 'default', 'types'] }
  }
}
