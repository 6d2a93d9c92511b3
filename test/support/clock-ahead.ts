// For `node --import`: the clock of the process is ahead by CLOCK_AHEAD ms.
const ahead = Number(process.env['CLOCK_AHEAD'])
const now = Date.now.bind(Date)

globalThis.Date = new Proxy(Date, {
  construct: (target, given, self) => Reflect.construct(target, given.length === 0 ? [now() + ahead] : given, self),
  get: (target, property) => (property === 'now' ? () => now() + ahead : Reflect.get(target, property))
})
