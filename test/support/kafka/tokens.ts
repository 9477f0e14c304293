/** An unsigned token (RFC 7515, `alg: none`), which a broker believes whose validator is the one Kafka has for tests. */
export function unsignedToken(user: string, { expiresIn = 3_600 }: { readonly expiresIn?: number } = {}): string {
  const now = Math.floor(Date.now() / 1_000)
  const part = (content: object): string => Buffer.from(JSON.stringify(content)).toString('base64url')
  return `${part({ alg: 'none' })}.${part({ sub: user, iat: now - 60, exp: now + expiresIn })}.`
}
