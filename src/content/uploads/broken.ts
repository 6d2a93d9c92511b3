/** A request ended before its body did; what arrived is kept. */
export class BodyBrokenError extends Error {
  constructor(cause: unknown) {
    super('the body ended before it was complete', { cause })
    this.name = 'BodyBrokenError'
  }
}
