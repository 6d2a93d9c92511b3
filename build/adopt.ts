// Usage: adopt.ts <script>
// Lets V8 take a cache that was made with other seeds: it compares a hash of all flags, also of those that the compiled
// code does not depend on. The hash is the fourth word of the cache (V8's SerializedCodeData), after a magic number and
// the hashes of version and source.
import { Script } from 'node:vm'
import { compile, readCache, writeCacheData } from './program.ts'

const [, , script = ''] = process.argv
const flagHash = new Script('').createCachedData().subarray(12, 16)
const data = readCache(script)
if (!data) throw new Error(`${script} has no cache`)
flagHash.copy(data, 12)
writeCacheData(script, data)
if (compile(script).cachedDataRejected !== false) throw new Error(`V8 does not take the cache of ${script}`)
