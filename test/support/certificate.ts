import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Test } from 'tap'

/** A certificate for 127.0.0.1 that signed itself. */
export function certificate(t: Test, days = '2'): { key: string; cert: string } {
  const directory = mkdtempSync(join(tmpdir(), 'certificate-'))
  t.teardown(() => rmSync(directory, { recursive: true, force: true }))
  const [key, cert] = [join(directory, 'tls.key'), join(directory, 'tls.crt')]
  const names = ['-subj', '/CN=upstream', '-addext', 'subjectAltName=IP:127.0.0.1,DNS:registry.example']
  const newKey = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', key]
  execFileSync('openssl', ['req', '-x509', ...newKey, ...names, '-days', days, '-out', cert], { stdio: 'pipe' })
  return { key: readFileSync(key, 'utf8'), cert: readFileSync(cert, 'utf8') }
}
