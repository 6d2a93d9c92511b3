/** How large the suites are: small enough for every change by default, and as the promises state them with REGISTRY_TEST_SCALE=full. */
export interface Scale {
  /** Rounds of pushes that end in kill -9. */
  crashRounds: number
  /** Cases of one property, as a multiple of its share in a run for every change. */
  fuzzFactor: number
  /** Simulations of replicas under faults. */
  simulations: number
  /** Random sequences of what happens to a store. */
  collectRounds: number
  /** The same on a bucket, where each step takes longer; and collections one after another while clients push and pull. */
  bucket: { crashRounds: number; collectRounds: number; collections: number }
  /** Blobs that nothing needs, while clients pull and push, and in a store of its own. */
  litter: number
  /** How long clients pull and push before it is collected, in ms. */
  quiet: number
  largeStore: number
  /** What is cached through a budget, in bytes. */
  churn: { budget: number; bytes: number; blob: number }
  /** Clients at once and bytes of each while memory is watched. */
  pulls: { count: number; bytes: number }
  pushes: { count: number; bytes: number }
  /** Rounds in which replicas behind an agent go down. */
  agentRounds: number
  soak: Soak
}

/** A churn in seconds: how long it lasts, around when the first look is taken, how long each look and each mode is. */
export interface Soak {
  seconds: number
  first: number
  look: number
  mode: number
  /** How much more there may be at the last look, as a multiple of the first. */
  growth: { resident: number; descriptors: number }
  /** Which descriptors are counted: all, or all but connections to the upstream. */
  counted: 'all' | 'own'
}

const mib = 1024 * 1024

// A look is as long as some rounds of the three modes, so that both looks see the same mixture.
const soaks: Record<'ci' | 'full', Soak> = {
  // Memory is given more room: after ten seconds V8 still compiles, and its heap has not met its limits. Connections to an upstream are kept for a minute after a
  // switch, so that their number cannot stand still in less.
  ci: { seconds: 30, first: 10, look: 6, mode: 2, growth: { resident: 1.2, descriptors: 1.1 }, counted: 'own' },
  full: { seconds: 1800, first: 300, look: 60, mode: 5, growth: { resident: 1.1, descriptors: 1.1 }, counted: 'all' }
}

// The number of clients stays: it is what memory grows with. Their bytes only make them overlap for longer.
const scales: Readonly<Record<string, Scale>> = {
  ci: {
    crashRounds: 20,
    fuzzFactor: 1,
    simulations: 300,
    collectRounds: 200,
    bucket: { crashRounds: 8, collectRounds: 24, collections: 1 },
    litter: 500,
    quiet: 500,
    largeStore: 50_000,
    churn: { budget: 16 * mib, bytes: 160 * mib, blob: 128 * 1024 },
    pulls: { count: 64, bytes: 128 * mib },
    pushes: { count: 16, bytes: 32 * mib },
    agentRounds: 20,
    soak: soaks.ci
  },
  full: {
    crashRounds: 200,
    fuzzFactor: 10,
    simulations: 20_000,
    collectRounds: 5000,
    bucket: { crashRounds: 50, collectRounds: 500, collections: 60 },
    litter: 20_000,
    quiet: 10_000,
    largeStore: 1_000_000,
    churn: { budget: 1024 * mib, bytes: 10 * 1024 * mib, blob: 4 * mib },
    pulls: { count: 64, bytes: 1024 * mib },
    pushes: { count: 16, bytes: 256 * mib },
    agentRounds: 100,
    soak: soaks.full
  }
}

const chosen = process.env['REGISTRY_TEST_SCALE'] || 'ci'

/** The sizes of this run. */
export const scale: Scale = pick(chosen)

/** What everything random in this run comes from; REGISTRY_TEST_SEED repeats a run. */
export const seed: number = pickSeed(process.env['REGISTRY_TEST_SEED'])

/** For titles: how to repeat this run. */
export const repeat = `REGISTRY_TEST_SCALE=${chosen} REGISTRY_TEST_SEED=${seed}`

function pick(name: string): Scale {
  const found = scales[name]
  if (found === undefined) throw new Error(`REGISTRY_TEST_SCALE is one of ${Object.keys(scales).join(', ')}, not ${name}`)
  return found
}

function pickSeed(text: string | undefined): number {
  if (text === undefined || text === '') return Math.floor(Math.random() * 0x7fff_ffff)
  const number = Number(text)
  if (!Number.isInteger(number) || number < 0 || number > 0x7fff_ffff)
    throw new Error('REGISTRY_TEST_SEED is an integer from 0 to 2147483647')
  return number
}
