import type { SASLOptions } from 'kafkajs'
import { errorMessage } from '../record/error.js'

/** kafkajs's own call of one step of a log-in; bytes have their length in front. */
type Step = (step: {
  readonly request: { encode(): Promise<Buffer> }
  readonly response: { decode(bytes: Buffer): Promise<Buffer>; parse(bytes: Buffer): Promise<Buffer> }
}) => Promise<Buffer>

const HIDDEN = '***'
/** Shorter ones stand in any text. */
const LEAST_SECRET = 4
const LENGTH_BYTES = 4
/** What ends a log-in that the broker has refused in its first answer, so that it says why. (RFC 7628) */
const KVSEP = '\u0001'

/** The program gave nothing to log in with. */
export class NoToken extends Error {}

/** Whoever gives out tokens failed: it, or the network to it, may be well again later. */
export class ProviderFailed extends Error {
  constructor(error: unknown) {
    super(errorMessage(error), { cause: error })
  }
}

/** What one connection logs in with; its secrets are to show up nowhere. */
export class Credentials {
  /** As kafkajs takes it: an object of its own, in which it keeps things. */
  readonly sasl: object
  /** A token was asked for and has not come yet. */
  awaitsToken = false
  private readonly secrets = new Set<string>()

  constructor(options: SASLOptions) {
    for (const [name, value] of Object.entries(options)) if (/password|secret|token/i.test(name)) this.keep(value)
    const bearer = options.mechanism.toUpperCase() === 'OAUTHBEARER'
    this.sasl = bearer
      ? { ...options, authenticationProvider: this.bearing(options as SASLOptions & { mechanism: 'oauthbearer' }) }
      : { ...options }
  }

  /** The text without any secret that has been used here. */
  redact(text: string): string {
    let redacted = text
    for (const secret of this.secrets) redacted = redacted.replaceAll(secret, HIDDEN)
    return redacted
  }

  /**
   * OAUTHBEARER (RFC 7628). A broker that refuses a token says so as if it had a question; kafkajs's own takes that for the end of the
   * log-in, and the connection is then closed without a reason.
   */
  private bearing(options: {
    readonly oauthBearerProvider: () => Promise<{ readonly value: string; readonly extensions?: object }>
  }): unknown {
    return ({ saslAuthenticate }: { readonly saslAuthenticate: Step }) => ({
      authenticate: async () => {
        const { value, extensions = {} } = await this.token(options)
        const pairs = Object.entries(extensions).map(([name, text]) => `${name}=${String(text)}${KVSEP}`)
        const question = await exchange(saslAuthenticate, `n,,${KVSEP}auth=Bearer ${value}${KVSEP}${pairs.join('')}${KVSEP}`)
        if (question.length === 0) return
        await exchange(saslAuthenticate, KVSEP)
        throw new Error(`the token was refused: ${question.toString()}`)
      },
    })
  }

  private async token({
    oauthBearerProvider,
  }: {
    readonly oauthBearerProvider: () => Promise<{ readonly value: string; readonly extensions?: object }>
  }): Promise<{ readonly value: string; readonly extensions?: object }> {
    if (typeof oauthBearerProvider !== 'function') throw new NoToken('sasl.oauthBearerProvider has to be a function that gives a token')
    this.awaitsToken = true
    let token: { readonly value: string; readonly extensions?: object } | undefined
    try {
      token = await oauthBearerProvider()
    } catch (error) {
      throw new ProviderFailed(error)
    } finally {
      this.awaitsToken = false
    }
    if (typeof token?.value !== 'string' || token.value === '') throw new NoToken('sasl.oauthBearerProvider gave no { value: token }')
    this.keep(token.value)
    return token
  }

  private keep(secret: unknown): void {
    if (typeof secret === 'string' && secret.length >= LEAST_SECRET) this.secrets.add(secret)
  }
}

function exchange(step: Step, text: string): Promise<Buffer> {
  const bytes = Buffer.from(text)
  const framed = Buffer.alloc(LENGTH_BYTES + bytes.length)
  framed.writeInt32BE(bytes.length)
  bytes.copy(framed, LENGTH_BYTES)
  const asTheyAre = async (answer: Buffer): Promise<Buffer> => answer
  return step({
    request: { encode: async () => framed },
    response: { decode: async (answer) => answer.subarray(LENGTH_BYTES), parse: asTheyAre },
  })
}
