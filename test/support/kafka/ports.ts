import { createServer, type Server } from 'node:net'

/**
 * Free ports on 127.0.0.1, all different. They are taken from below the range that the kernel gives to outgoing
 * connections: otherwise, while a broker is down, a client's own socket could sit on the broker's port and keep it from
 * coming back.
 */
export async function freePorts(count: number): Promise<number[]> {
  const held: { port: number; server: Server }[] = []
  try {
    while (held.length < count) {
      const port = 20_000 + Math.floor(Math.random() * 12_000)
      const server = await listen(port)
      if (server !== undefined) held.push({ port, server })
    }
    return held.map(({ port }) => port)
  } finally {
    await Promise.all(held.map(({ server }) => new Promise((closed) => server.close(closed))))
  }
}

function listen(port: number): Promise<Server | undefined> {
  return new Promise((done) => {
    const server = createServer()
    server.once('error', () => done(undefined))
    server.listen({ port, host: '127.0.0.1', exclusive: true }, () => done(server))
  })
}
