// An HTTP server whose requests become records; the answer is sent when the record is stored.
import { createServer } from 'node:http'
import { text } from 'node:stream/consumers'
import type { AddressInfo } from 'node:net'
import { z } from 'zod'
import { example } from './example.js'

const Signup = z.object({ email: z.email() })

const { cluster, topics, show } = await example('http-to-topic', ['signups'])

const server = createServer((request, response) => {
  const answer = (status: number, body: object): void =>
    void response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body))
  void (async () => {
    const signup = Signup.safeParse(JSON.parse(await text(request)))
    if (!signup.success) return answer(400, { error: z.prettifyError(signup.error) })
    await cluster.produce({ topic: topics.signups, records: [{ key: signup.data.email, value: JSON.stringify(signup.data) }] })
    answer(202, { stored: true })
  })().catch((error: Error) => answer(error instanceof SyntaxError ? 400 : 503, { error: error.message }))
})
await new Promise<void>((resolve) => server.listen(0, resolve))

// What clients would do:
const url = `http://localhost:${(server.address() as AddressInfo).port}`
for (const body of ['{"email":"ada@example.org"}', '{"email":"nobody"}', 'what?']) {
  const { status } = await fetch(url, { method: 'POST', body })
  console.log(`${body} -> ${status}`)
}
await new Promise((resolve) => server.close(resolve))
await show('signups')
await cluster.close()
