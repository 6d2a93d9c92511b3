const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB']

/** A number of bytes with its unit. */
export function bytesText(bytes: number): string {
  const power = bytes < 1 ? 0 : Math.min(units.length - 1, Math.floor(Math.log2(bytes) / 10))
  const value = bytes / 1024 ** power
  return `${power === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${units[power]}`
}

/** Seconds in the two largest units. */
export function durationText(seconds: number): string {
  const whole = Math.floor(seconds)
  if (whole < 60) return `${whole} s`
  if (whole < 3_600) return `${Math.floor(whole / 60)} min ${whole % 60} s`
  if (whole < 86_400) return `${Math.floor(whole / 3_600)} h ${Math.floor((whole % 3_600) / 60)} min`
  return `${Math.floor(whole / 86_400)} d ${Math.floor((whole % 86_400) / 3_600)} h`
}

/** Rows of a name and a text, with the texts aligned. Control characters are removed. */
export function table(rows: readonly (readonly string[])[]): string {
  const width = Math.max(...rows.map(([name = '']) => name.length))
  return rows.map(([name = '', text = '']) => `${name.padEnd(width)}  ${plain(text)}`.trimEnd()).join('\n')
}

/** Replaces control characters, which a terminal would obey. */
export function plain(text: string): string {
  return text.replaceAll(/\p{Cc}/gu, ' ')
}
