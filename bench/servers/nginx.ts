import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Pki } from '../../test/e2e/pki.ts'
import { freePort } from '../../test/e2e/place.ts'
import { manifestType, plantFiles } from '../content.ts'
import { startProcess } from '../process.ts'
import { probeOf } from './probe.ts'
import type { Kind, Server, Setup, Upstream } from './server.ts'

/** nginx: files by sendfile, or a reverse proxy that stores nothing. */
export function nginx(version: string): Kind {
  return {
    name: 'nginx',
    version,
    modes: ['Local', 'Direct'],
    writes: 'nothing',
    start: setup => startNginx(setup, 'access.log requests buffer=64k flush=500ms'),
    plant: plantFiles
  }
}

/** Starts nginx; `log` is its file for requests, with options. */
export async function startNginx({ folder, task, pki }: Setup, log: string): Promise<Server> {
  const address = `127.0.0.1:${await freePort()}`
  const file = join(folder, 'nginx.conf')
  await mkdir(join(folder, 'temporary'), { recursive: true })
  if (task.mode === 'Proxy') throw new Error('nginx does not store here')
  const way = task.mode === 'Local' ? files(task.root) : { outer: upstreamOf(task.upstream), inner: relay(task.upstream) }
  await writeFile(
    file,
    `daemon off;
user root;
worker_processes auto;
pid ${folder}/nginx.pid;
error_log ${folder}/nginx-error.log error;
events { worker_connections 8192; }
http {
  log_format requests '$request_method $status $body_bytes_sent $request_uri';
  access_log ${folder}/${log};
  sendfile on;
  keepalive_requests 10000000;
  ${['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map(each => `${each}_temp_path ${folder}/temporary;`).join(' ')}
  ${way.outer}
  server {
    listen ${address}${pki ? ' ssl' : ''};
    ${pki ? serverTls(pki) : ''}
    ${way.inner}
  }
}
`
  )
  const probe = probeOf(address, pki)
  const running = await startProcess({ command: 'nginx', args: ['-c', file], log: join(folder, 'nginx.log'), probe })
  return { ...running, name: 'nginx', address, ...(pki ? { ca: pki.ca } : {}) }
}

function serverTls({ certificate, key }: Pki): string {
  return `ssl_certificate ${certificate};
    ssl_certificate_key ${key};
    ssl_protocols TLSv1.3;
    ssl_conf_command Ciphersuites TLS_AES_128_GCM_SHA256;
    ssl_session_cache shared:tls:4m;`
}

function files(root: string): { outer: string; inner: string } {
  const inner = `root ${root};
    location = /v2/ { default_type application/json; add_header Docker-Distribution-Api-Version registry/2.0; return 200 '{}'; }
    location ~ /manifests/ { default_type ${manifestType}; }
    location / { default_type application/octet-stream; }`
  return { outer: '', inner }
}

function upstreamOf({ address }: Upstream): string {
  return `upstream registry { server ${address}; keepalive 64; keepalive_requests 10000000; }`
}

function relay({ ca }: Upstream): string {
  const tls = `proxy_ssl_protocols TLSv1.3;
      proxy_ssl_conf_command Ciphersuites TLS_AES_128_GCM_SHA256;
      proxy_ssl_session_reuse on;
      proxy_ssl_verify on;
      proxy_ssl_name localhost;
      proxy_ssl_trusted_certificate ${ca};`
  return `location / {
      proxy_pass ${ca === undefined ? 'http' : 'https'}://registry;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_max_temp_file_size 0;
      proxy_buffer_size 16k;
      proxy_buffers 16 64k;
      proxy_busy_buffers_size 256k;
      ${ca === undefined ? '' : tls}
    }`
}
