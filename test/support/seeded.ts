import fc from 'fast-check'

// A run for every change tries the same cases each time (`.ci/run` sets the seed), so that it fails for the change and not by chance; any other run tries new ones.
const seed = process.env['REGISTRY_TEST_SEED']
if (seed) fc.configureGlobal({ seed: Number(seed) })

export { fc }
