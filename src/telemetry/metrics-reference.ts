import { type Definition, metricTable } from './metric-table.ts'

/** The text of docs/metrics.md: all metrics of the table, by name. */
export const renderMetricsReference = (): string => {
  const definitions = Object.values<Definition>(metricTable).sort((a, b) => (a.name < b.name ? -1 : 1))
  return `# Metrics

The admin port (\`server.admin\`) answers \`/metrics\` in the format of Prometheus. No label holds a name, a tag or a digest. Besides these, there are
\`process_*\` and \`nodejs_*\` of [prom-client](https://github.com/siimon/prom-client#default-metrics). \`npm run schema\` writes this page.

| metric | type | labels | meaning |
| --- | --- | --- | --- |
${definitions.map(row).join('\n')}
`
}

const row = ({ name, type, labels, help }: Definition): string => `| \`${name}\` | ${type} | ${labelText(labels)} | ${help} |`

const labelText = (labels: Definition['labels']): string =>
  Object.entries(labels)
    .map(([label, values]) => `\`${label}\`: ${values}`)
    .join('; ')
