import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client'

/** The metrics of the process; names are spelled here and nowhere else. No label holds a name, a tag or a digest. */
export type Metrics = ReturnType<typeof createMetrics>

// From a manifest out of memory to a blob of some GiB.
const buckets = [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300]

/** A registry of its own, so that several servers can live in one process. */
export function createMetrics() {
  const registers = [new Registry()]
  const [register] = registers as [Registry]
  collectDefaultMetrics({ register })
  const counter = <T extends string>(name: string, help: string, labelNames: T[]) => new Counter({ name, help, labelNames, registers })
  const gauge = <T extends string>(name: string, help: string, labelNames: T[], collect?: (this: Gauge<T>) => void | Promise<void>) =>
    new Gauge({ name, help, labelNames, registers, ...(collect ? { collect } : {}) })
  return {
    register,
    gauge,
    requests: counter('registry_http_requests_total', 'Requests by route, method and status code.', ['route', 'method', 'code']),
    duration: new Histogram({
      name: 'registry_http_request_duration_seconds',
      help: 'Time from the head of a request to the end of its answer.',
      labelNames: ['route'],
      buckets,
      registers
    }),
    received: counter('registry_http_request_bytes_total', 'Bytes of bodies received.', ['route']),
    sent: counter('registry_http_response_bytes_total', 'Bytes of bodies sent.', ['route']),
    truncated: counter(
      'registry_http_responses_cut_total',
      'Responses that ended short: the client left, it stalled, or the source broke.',
      ['cause']
    ),
    authentications: counter('registry_authentications_total', 'How requests were told apart.', ['outcome']),
    cache: counter('registry_cache_requests_total', 'Pulls by how their answer came about.', ['route', 'outcome']),
    fills: counter('registry_fills_total', 'Downloads into the cache by how they ended.', ['result']),
    fillBytes: counter('registry_fill_bytes_total', 'Bytes downloaded into the cache, by how the download ended.', ['result']),
    upstreamRequests: counter('registry_upstream_requests_total', 'Requests to upstreams by what was asked for and the answer.', [
      'endpoint',
      'asked',
      'result'
    ]),
    upstreamBytes: counter('registry_upstream_bytes_total', 'Bytes of blobs that came from upstreams.', ['endpoint', 'result']),
    upstreamResumes: counter('registry_upstream_resumes_total', 'Downloads that broke and were resumed.', ['endpoint']),
    upstreamTokens: counter('registry_upstream_tokens_total', 'Tokens asked for.', ['endpoint', 'result']),
    upstreamBreaker: gauge('registry_upstream_breaker_open_until_timestamp_seconds', 'Until when an upstream wants to be left alone.', [
      'endpoint'
    ]),
    tagAge: new Histogram({
      name: 'registry_cache_tag_age_seconds',
      help: 'How long ago a tag that was answered had last been compared with upstream.',
      labelNames: [],
      buckets: [1, 10, 60, 600, 3_600, 86_400, 604_800],
      registers
    }),
    reloads: counter('registry_config_reloads_total', 'Changed configurations by what became of them.', ['result']),
    damaged: counter('registry_damaged_objects_total', 'Times that a damaged object was met.', []),
    limitWait: counter(
      'registry_limit_wait_seconds_total',
      'Time that transfers waited, added up, because a limit of bytes per second was reached.',
      ['limit']
    ),
    collections: counter('registry_gc_runs_total', 'Collections by how they ended.', ['result']),
    removed: counter('registry_removed_objects_total', 'What was removed because nothing needs it or nobody asked for it.', [
      'kind',
      'reason'
    ]),
    evictions: counter('registry_cache_evictions_total', 'What was removed from the cache, because it expired or to make room.', [
      'reason',
      'kind'
    ]),
    freed: counter('registry_freed_bytes_total', 'Bytes of blobs that were removed.', ['reason']),
    connectionsDropped: counter('registry_connections_dropped_total', 'Connections refused because limits.connections was reached.', []),
    certificateExpiry: gauge('registry_certificate_expiry_timestamp_seconds', 'When the first certificate of a kind ends.', ['kind']),
    reloadFaults: counter('registry_file_reload_faults_total', 'Changed files that could not be used.', ['kind']),
    build: gauge('registry_build_info', 'Version of the program and of Node.', ['version', 'node']),
    config: gauge('registry_config_info', 'Hash of the effective configuration.', ['hash', 'mode'])
  }
}
