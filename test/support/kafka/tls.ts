import { execFile } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'

const run = promisify(execFile)

export interface Certificate {
  /** A PKCS12 file with the key and the certificate. */
  readonly keystore: string
  readonly password: string
  /** The certificate in PEM. It signs itself, so it is also the authority that clients trust. */
  readonly pem: string
}

/** A certificate for this machine, made by the JRE's own keytool so that nothing else need be installed. */
export async function createCertificate(directory: string): Promise<Certificate> {
  const keystore = join(directory, 'keystore.p12')
  const file = join(directory, 'certificate.pem')
  const password = 'not-a-secret'
  const common = ['-alias', 'broker', '-keystore', keystore, '-storetype', 'PKCS12', '-storepass', password]
  await run('keytool', [
    '-genkeypair',
    ...common,
    '-keyalg',
    'EC',
    '-groupname',
    'secp256r1',
    '-validity',
    '2',
    '-dname',
    'CN=localhost',
    '-ext',
    'san=dns:localhost,ip:127.0.0.1',
    '-ext',
    'bc:c',
  ])
  await run('keytool', ['-exportcert', ...common, '-rfc', '-file', file])
  return { keystore, password, pem: await readFile(file, 'utf8') }
}
