let requests = 0
const started = process.pid.toString(36) + Date.now().toString(36)

/** The id of a request that brings none. */
export function nextRequestId(): string {
  requests++
  return `${started}-${requests.toString(36)}`
}
