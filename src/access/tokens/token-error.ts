/** Why a token is refused, for the client. */
export class TokenError extends Error {
  override readonly name = 'TokenError'
}
