import { test } from 'tap'
import { setTimeout as sleep } from 'node:timers/promises'
import { writeFileSync } from 'node:fs'
import { ask, bytesOf, metric, openFiles, pushBlob, serve } from '../support.ts'
import { Wire } from './wire.ts'

test('probe', async t => {
  const served = await serve(t, { limits: { minimumRate: { bytes: 1024, per: '1s' } } })
  const out: string[] = []
  const say = (...a: unknown[]) => out.push(a.map(x => typeof x === 'string' ? x : JSON.stringify(x)).join(' '))
  for (const p of ['/v2/%zz', '/v2/a/%', 'http://registry/v2/', '/v2/a/blobs/uploads/?x=%zz', '/v2/' + 'a'.repeat(10240) + '/tags/list', '//v2/', '/v2/a//b/tags/list', '/v2/a/tags/list;x', '/v2/a/tags/list#x', '/v2/%00/tags/list']) {
    const r = await ask(served.listen, 'GET', p).catch(e => ({ status: String(e), headers: {}, body: '' }))
    say(p.slice(0, 50), r.status, r.headers['content-type'], r.body.toString().slice(0, 200))
  }
  for (const m of ['OPTIONS *', 'PROPFIND /v2/', 'CONNECT a:1', 'TRACE /v2/', 'BREW /v2/', 'M-SEARCH /v2/', 'QUERY /v2/', 'OPTIONS /v2/']) {
    const w = await Wire.dial(t, served.listen)
    w.head(m)
    say(m, await Promise.race([w.answer().then(a => [a.status, a.body.toString()]), w.end().then(b => 'end ' + b), sleep(2000).then(() => 'nothing')]).catch(e => String(e)))
    w.socket.destroy()
  }
  const big = bytesOf(32 * 1024 * 1024)
  const digest = await pushBlob(served, 'a', big)
  {
    const w = await Wire.dial(t, served.listen)
    w.socket.pause()
    w.head(`GET /v2/a/blobs/${digest}`)
    w.head(`GET /v2/a/blobs/${digest}`)
    await sleep(300)
    say('pipelined: running', await metric(served, 'registry_requests_running'), (await openFiles(served.root)).length)
    w.socket.destroy()
    await sleep(1000)
    say('after client left', await metric(served, 'registry_requests_running'), (await openFiles(served.root)).length)
    await sleep(7000)
    say('after 7 s more', await metric(served, 'registry_requests_running'), (await openFiles(served.root)).length)
  }
  {
    const w = await Wire.dial(t, served.listen)
    w.socket.pause()
    w.head(`GET /v2/a/blobs/${digest}`)
    await sleep(200)
    w.socket.write('\x00garbage\r\n\r\n')
    await sleep(200)
    w.socket.resume()
    const b = await w.end()
    say('garbage in GET', b.length, b.includes('HTTP/1.1 400'), b.subarray(-200).toString('latin1').replace(/[^ -~]/g, '.'))
  }
  {
    const w = await Wire.dial(t, served.listen)
    w.head('GET /v2/')
    w.socket.write('\x00garbage\r\n\r\n')
    say('garbage after GET', (await w.end()).toString())
  }
  {
    const w = await Wire.dial(t, served.listen)
    say('idle conn', await Promise.race([w.end().then(b => 'end ' + b), sleep(5000).then(() => 'nothing')]))
  }
  {
    const w = await Wire.dial(t, served.listen)
    w.socket.write('GET /v2/ HTTP/1.1\r\nX: ')
    say('loris', await Promise.race([w.end().then(b => 'end ' + b), sleep(5000).then(() => 'nothing')]))
  }
  say(served.lines.slice(-12))
  writeFileSync('/tmp/p6probe/out', out.join('\n'))
})
