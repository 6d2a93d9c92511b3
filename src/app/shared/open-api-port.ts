import { deferContinue, type Gateway } from '../../api/gateway.ts'
import { listen } from '../../ports/address.ts'
import { type AppOptions, createApp } from '../../ports/app.ts'
import { createPort, type PortLimits } from '../../ports/listen.ts'
import type { Tls } from '../../ports/tls.ts'
import { type OpenedPort, openedPort } from './open-port.ts'

/** Where a port listens, the setting that says so, and what it admits. */
export interface PortOptions {
  at: { host: string; port: number }
  setting: string
  limits: PortLimits
  /** Whether the `X-Request-Id` of a request is its id. */
  believesRequestId?: AppOptions['believesRequestId']
}

/** Opens a port of the API. */
export async function openApiPort(gateway: Gateway, tls: Tls | undefined, options: PortOptions): Promise<OpenedPort> {
  const app = createApp(listener => createPort(listener, tls?.options, options.limits), {
    frameworkErrors: (_error, request, reply) => void gateway.handle(request, reply),
    ...(options.believesRequestId ? { believesRequestId: options.believesRequestId } : {})
  })
  const server = app.server
  gateway.register(app)
  deferContinue(server)
  if (tls) tls.attach(server as unknown as Parameters<Tls['attach']>[0])
  await app.ready()
  await listen(server, options.at, options.setting)
  return openedPort(server)
}
