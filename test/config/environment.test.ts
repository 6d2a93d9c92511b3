import { test } from 'tap'
import { threadPoolSize } from '../../config/environment.ts'

test('environment: the size of the thread pool is what libuv makes of UV_THREADPOOL_SIZE', async t => {
  for (const [value, size] of [
    [undefined, 4],
    ['', 4],
    ['16', 16],
    ['0', 4],
    ['-1', 4],
    ['many', 4],
    ['1.5', 4],
    ['5000', 1024]
  ] as const)
    t.equal(threadPoolSize({ UV_THREADPOOL_SIZE: value }), size, String(value))
})
