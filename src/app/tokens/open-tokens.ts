import type { Config } from '../../../config/schema.ts'
import type { TokenSettings } from '../../access/tokens/access.ts'
import { BearerVerifier } from '../../access/tokens/bearer.ts'
import { parseSigningKeys } from '../../access/tokens/keys.ts'
import type { AppContext } from '../context.ts'
import { openIssuerKeys, openKeyFiles } from './open-keys.ts'

/** The tokens of a configuration, and what reads their keys. */
export interface OpenedTokens {
  settings: TokenSettings
  close(): void
}

/** Opens the tokens of a configuration; undefined if it has none. Rejects if key files cannot be used. */
export async function openTokens({ tokens, serviceAccounts }: Config['auth'], context: AppContext): Promise<OpenedTokens | undefined> {
  if (!tokens && !serviceAccounts) return undefined
  // Its library is loaded only here.
  const jwt = await import('../../access/tokens/jwt.ts')
  using stack = new DisposableStack()
  let forget = () => {}
  const onChange = () => forget()
  const signing = tokens && (await openKeyFiles(tokens.keys, parseSigningKeys, { context, kind: 'token_keys', onChange, stack }))
  const issuer = serviceAccounts && (await openIssuerKeys(serviceAccounts, { context, onChange, stack }))
  const own = tokens && signing && { service: tokens.service, lifetimeMs: tokens.lifetime, keys: signing }
  const settings: TokenSettings = {
    verifier: new BearerVerifier(jwt, own, serviceAccounts && issuer && { ...serviceAccounts, ...issuer }),
    now: Date.now,
    service: tokens && { name: tokens.service, realm: tokens.realm },
    serviceAccounts,
    onForget: forgetAll => {
      forget = forgetAll
    }
  }
  const parts = stack.move()
  return { settings, close: () => parts.dispose() }
}
