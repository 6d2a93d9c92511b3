import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client'
import { type Definition, metricTable } from './metric-table.ts'

type Table = typeof metricTable
type LabelsOf<D extends Definition> = Extract<keyof D['labels'], string>

type Instrument<D extends Definition> = D['type'] extends 'counter'
  ? Counter<LabelsOf<D>>
  : D['type'] extends 'gauge'
    ? Gauge<LabelsOf<D>>
    : Histogram<LabelsOf<D>>

type Instruments = { readonly [K in keyof Table]: Instrument<Table[K]> }
type GaugeKey = { [K in keyof Table]: Table[K]['type'] extends 'gauge' ? K : never }[keyof Table]

/** The metrics of the process, by their keys in the table. */
export interface Metrics extends Instruments {
  readonly register: Registry
  /** Has `collect` set the gauge each time the metrics are scraped. */
  collect<K extends GaugeKey>(key: K, collect: (gauge: Instruments[K]) => void | Promise<void>): void
}

/**
 * Makes the metrics of the table, in a registry of their own, so that several servers can live in one process. Those
 * that `shown` does not accept are counted and not exposed: they are of parts that this process does not have.
 */
export function createMetrics(shown: (key: keyof Table) => boolean = key => !key.startsWith('controller')): Metrics {
  const register = new Registry()
  collectDefaultMetrics({ register })
  const collectors = new Map<string, (gauge: Gauge) => void | Promise<void>>()
  const instruments = Object.entries<Definition>(metricTable).map(([key, definition]) => {
    const registers = shown(key as keyof Table) ? [register] : []
    const options = { name: definition.name, help: definition.help, labelNames: Object.keys(definition.labels), registers }
    if (definition.type === 'counter') return [key, new Counter(options)] as const
    if (definition.type === 'histogram') return [key, new Histogram({ ...options, buckets: [...(definition.buckets ?? [])] })] as const
    const gauge: Gauge = new Gauge({ ...options, collect: () => collectors.get(key)?.(gauge) })
    return [key, gauge] as const
  })
  return {
    ...(Object.fromEntries(instruments) as unknown as Instruments),
    register,
    collect: (key, collect) => void collectors.set(key, collect as unknown as (gauge: Gauge) => void | Promise<void>)
  }
}
