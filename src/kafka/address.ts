export interface Address {
  readonly host: string
  readonly port: number
}

export function addressName({ host, port }: Address): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`
}
