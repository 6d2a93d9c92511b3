import { JsonMeter } from './json-meter.ts'

/** A JSON object. Its fields may be of any type. */
export type JsonObject = Record<string, unknown>

// A byte order mark stays and is no JSON: clients cannot parse it.
const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/** Parses JSON in UTF-8 of at most `costLimit` (json-meter.ts); throws JsonTooCostly, SyntaxError or TypeError. */
export function parseJson(bytes: Uint8Array, costLimit?: number): unknown {
  new JsonMeter({ limit: costLimit }).add(bytes)
  return parseMetered(bytes)
}

/** As `parseJson`, for bytes that a JsonMeter has counted already. */
export function parseMetered(bytes: Uint8Array): unknown {
  return JSON.parse(utf8.decode(bytes))
}

/** Whether a JSON value is an object. */
export function isJsonObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
