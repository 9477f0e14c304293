import { logError } from '../log/error.js'
import { Unanswered } from './errors.js'

/** Trying again is of no use with these. */
const CERTIFICATE_FAILURES: Readonly<Record<string, string>> = {
  DEPTH_ZERO_SELF_SIGNED_CERT: 'the certificate of the broker is self-signed: give its authority in ssl.ca',
  SELF_SIGNED_CERT_IN_CHAIN: 'the certificate of the broker comes from an unknown authority: give it in ssl.ca',
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: 'the certificate of the broker comes from an unknown authority: give it in ssl.ca',
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: 'the certificate of the broker comes from an unknown authority: give it in ssl.ca',
  CERT_HAS_EXPIRED: 'the certificate of the broker has expired',
  ERR_TLS_CERT_ALTNAME_INVALID: 'the certificate of the broker is for another host name: use that name in brokers, or set ssl.servername',
}

export const CONNECT_FAILURES: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'connection refused: no broker listens there',
  ENOTFOUND: 'the host name is not known',
  EAI_AGAIN: 'the host name could not be looked up: is there a network?',
  EHOSTUNREACH: 'no way to the host',
  ENETUNREACH: 'no way to the network of the host',
  ETIMEDOUT: 'no answer: a firewall, or the wrong host',
  ECONNRESET: 'the connection was reset while it was set up',
  EPROTO: 'the TLS handshake failed: the listener may not speak TLS',
}

/** The likely cause behind a connection that could not be made. */
export function connectFailure(name: string, error: unknown, withTls: boolean): Error {
  const { code = '', message = '' } = error as { code?: string; message?: string }
  const certificate = CERTIFICATE_FAILURES[code]
  if (certificate !== undefined) return logError('BROKER_UNREACHABLE', 'fatal', `${name}: ${certificate}`, { cause: error })
  const resetByPlainText = withTls && code === 'ECONNRESET'
  const known = resetByPlainText ? CONNECT_FAILURES['EPROTO'] : CONNECT_FAILURES[message === 'Connection timeout' ? 'ETIMEDOUT' : code]
  return new Unanswered(`${name}: ${known ?? (message || code || 'the connection failed')}`, false, error)
}
