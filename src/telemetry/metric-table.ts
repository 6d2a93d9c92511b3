/** A metric as it is declared: docs/metrics.md is generated from it. */
export interface Definition<
  Type extends 'counter' | 'gauge' | 'histogram' = 'counter' | 'gauge' | 'histogram',
  Label extends string = string
> {
  readonly type: Type
  readonly name: string
  readonly help: string
  /** The values of each label. No label holds a name, a tag or a digest. */
  readonly labels: Readonly<Record<Label, string>>
  /** Of a histogram: the upper bounds. */
  readonly buckets?: readonly number[]
}

const counter = <L extends string = never>(name: string, help: string, labels = {} as Record<L, string>): Definition<'counter', L> => ({
  type: 'counter',
  name,
  help,
  labels
})

const gauge = <L extends string = never>(name: string, help: string, labels = {} as Record<L, string>): Definition<'gauge', L> => ({
  type: 'gauge',
  name,
  help,
  labels
})

const route = 'base, blob, catalog, discover, manifest, none, referrers, root, tags, token, upload, uploads'
const endpoint = 'host:port of each endpoint'
const result = 'stored, wrong, broken, medium, full'
const kind = 'blob, manifest, tag, link, upload, repository'
const reason = 'unreferenced, untagged, expired, room, broken, empty'
// From a manifest in memory to a blob of some GiB.
const durations = [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300]

/** All metrics of the process except those of Node itself. Names are spelled here and nowhere else. */
export const metricTable = {
  requests: counter('registry_http_requests_total', 'Requests by route, method and status code.', {
    route,
    method: 'GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS, other',
    code: 'the status code, or none if no response was begun'
  }),
  duration: {
    type: 'histogram',
    name: 'registry_http_request_duration_seconds',
    help: 'Time from the head of a request to the end of its response.',
    labels: { route },
    buckets: durations
  } as Definition<'histogram', 'route'>,
  received: counter('registry_http_request_bytes_total', 'Bytes of request bodies received.', { route }),
  sent: counter('registry_http_response_bytes_total', 'Bytes of response bodies sent.', { route }),
  truncated: counter('registry_http_responses_cut_total', 'Truncated responses: the client left, it stalled, or the source failed.', {
    cause: 'client, stalled, source'
  }),
  requestsRunning: gauge('registry_requests_running', 'Requests in progress.'),
  connectionsDropped: counter('registry_connections_dropped_total', 'Connections refused because limits.connections was reached.'),
  connectionsClosed: counter(
    'registry_connections_closed_total',
    'Connections closed for a new one, for unread responses or for pipelining.',
    {
      reason: 'idle, unread, pipelined'
    }
  ),
  authentications: counter('registry_authentications_total', 'Requests by how the client was authenticated.', {
    outcome: 'ok, cached, failed, limited, anonymous, certificate, token'
  }),
  auditLost: counter('registry_audit_lost_total', 'Lines of the audit file that had no room in memory while the file took none.'),
  cache: counter('registry_cache_requests_total', 'Pulls by where the response came from.', {
    route: 'blob, manifest, referrers, tags, catalog',
    outcome: 'hit, miss, join, stale, bypass'
  }),
  tagAge: {
    type: 'histogram',
    name: 'registry_cache_tag_age_seconds',
    help: 'Time since a served tag was last compared with the upstream.',
    labels: {},
    buckets: [1, 10, 60, 600, 3_600, 86_400, 604_800]
  } as Definition<'histogram', never>,
  fills: counter('registry_fills_total', 'Downloads into the cache by result.', { result }),
  fillBytes: counter('registry_fill_bytes_total', 'Bytes downloaded into the cache, by the result of the download.', { result }),
  fillsRefused: counter('registry_fills_refused_total', 'Requested blobs that passed through uncached since no download was begun.', {
    reason: 'slots (upstream.fills is reached), paused (the storage failed a moment ago)'
  }),
  fillsRunning: gauge('registry_fills_running', 'Downloads into the cache in progress.'),
  evictions: counter('registry_cache_evictions_total', 'Objects removed from the cache because they expired or to make room.', {
    reason: 'expired, room',
    kind: 'blob, manifest, tag, link'
  }),
  upstreamRequests: counter('registry_upstream_requests_total', 'Requests to upstreams by the requested resource and the result.', {
    endpoint,
    asked: 'blob, manifest, tags, names, referrers, upload',
    result: 'the status code, or error'
  }),
  upstreamBytes: counter('registry_upstream_bytes_total', 'Bytes of blobs received from upstreams.', {
    endpoint,
    result: 'complete, broken, cancelled'
  }),
  upstreamResumes: counter('registry_upstream_resumes_total', 'Interrupted downloads that were resumed.', { endpoint }),
  upstreamHedges: counter(
    'registry_upstream_hedges_total',
    'Requests of an agent that this replica got too, since another one did not answer in time.',
    {
      endpoint
    }
  ),
  upstreamProbes: counter('registry_upstream_probes_total', 'Probes of replicas by an agent.', { endpoint, result: 'answered, failed' }),
  replicaHealthy: gauge(
    'registry_replica_healthy',
    '1 for a replica of an agent that answers, 0 for one that does not or is asked to pause.',
    {
      endpoint
    }
  ),
  upstreamTokens: counter('registry_upstream_tokens_total', 'Token requests.', { endpoint, result: 'granted, failed' }),
  upstreamBreaker: gauge(
    'registry_upstream_breaker_open_until_timestamp_seconds',
    'When the requests that an upstream last asked to pause are sent again.',
    { endpoint }
  ),
  limitWait: counter('registry_limit_wait_seconds_total', 'Total time that transfers waited for a rate limit.', {
    limit: 'write, egress, upstream (those that are set)'
  }),
  uploadsOpen: gauge('registry_uploads_open', 'Upload sessions, and those that a request is writing to.', { state: 'open, writing' }),
  storageBytes: gauge('registry_storage_bytes', 'Bytes of the filesystem that holds the storage.', { state: 'free, total' }),
  storageInodes: gauge('registry_storage_inodes', 'Inodes of the filesystem that holds the storage.', { state: 'free, total' }),
  storageUsedBytes: gauge('registry_storage_used_bytes', 'Bytes that the storage uses; too high for a while after a crash.'),
  storageUsedInodes: gauge('registry_storage_used_inodes', 'Files and directories that the storage uses.'),
  storageBudgetBytes: gauge('registry_storage_budget_bytes', 'The limit of storage.budget; 0 without one.'),
  storageBudgetInodes: gauge('registry_storage_budget_inodes', 'The limit of storage.inodeBudget; 0 without one.'),
  storageReserveBytes: gauge('registry_storage_reserve_bytes', 'Bytes that storage.reserve keeps free.'),
  storageReserveInodes: gauge('registry_storage_reserve_inodes', 'Inodes that storage.inodeReserve keeps free.'),
  diskStalled: gauge('registry_disk_stalled', '1 while the storage does not respond.'),
  gcRuns: counter('registry_gc_runs_total', 'Garbage collections by result.', { result: 'done, stopped, failed' }),
  gcLastSuccess: gauge('registry_gc_last_success_timestamp_seconds', 'When a garbage collection last succeeded; 0 if never.'),
  removed: counter('registry_removed_objects_total', 'Removed objects.', { kind, reason }),
  freed: counter('registry_freed_bytes_total', 'Bytes of removed blobs.', { reason }),
  scrubPosition: gauge('registry_scrub_position_ratio', 'The finished part of the current scrub cycle.'),
  scrubLastComplete: gauge('registry_scrub_last_complete_timestamp_seconds', 'When the last scrub cycle was completed; 0 if never.'),
  scrubFindings: gauge('registry_scrub_findings', 'Damaged objects that the last scrub cycle left unrepaired.'),
  damaged: counter('registry_damaged_objects_total', 'Times that a damaged object was found.'),
  damagedBlobs: gauge('registry_damaged_blobs', 'Blobs and manifests known to be damaged or missing, until they are published anew.'),
  quarantineBytes: gauge('registry_quarantine_bytes', 'Damaged bytes kept for examination.'),
  reloads: counter('registry_config_reloads_total', 'Changes of the configuration by result.', {
    result: 'applied, unchanged, refused, faulty'
  }),
  reloadFaults: counter('registry_file_reload_faults_total', 'Changed files that could not be used.', {
    kind: 'certificates, users, token_keys, issuer_keys'
  }),
  certificateExpiry: gauge('registry_certificate_expiry_timestamp_seconds', 'When the first certificate of a kind expires.', {
    kind: 'server, client_ca, client_crl; of the admin port admin, admin_client_ca, admin_client_crl'
  }),
  controllerLeader: gauge('registry_controller_leader', '1 for the controller that leads.'),
  controllerConditionSince: gauge(
    'registry_controller_condition_transition_timestamp_seconds',
    'Since when a condition of registry-state has its status.',
    { type: 'as in registry-state', status: 'True, False' }
  ),
  controllerNodes: gauge('registry_controller_nodes', 'Nodes that have applied what they were last told, and those that have not.', {
    state: 'current, behind'
  }),
  controllerCertificateExpiry: gauge(
    'registry_controller_certificate_expiry_timestamp_seconds',
    "When the cluster's own authority expires."
  ),
  controllerApiRequests: counter('registry_controller_api_requests_total', 'Requests of the controller to the API server by result.', {
    method: 'GET, POST, PUT, PATCH, DELETE',
    code: 'the status code, or none without an answer'
  }),
  controllerFailures: counter('registry_controller_failures_total', 'Looks at the cluster that failed.'),
  build: gauge('registry_build_info', '1, with the versions of the program and of Node.', {
    version: 'as in registry --version',
    node: 'as in node --version'
  }),
  config: gauge('registry_config_info', '1, with the hash of the effective configuration and the mode.', {
    hash: 'SHA-256 in hex, secrets excluded',
    mode: 'Direct, Proxy, Local'
  })
} as const satisfies Readonly<Record<string, Definition>>
