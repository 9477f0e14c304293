import { spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'

/** What each program of examples/ prints that ends by itself. */
export const EXAMPLES: Readonly<Record<string, string>> = {
  enrichment: `
orders-by-city:
  c1 {"id":"o1","amount":10,"city":"London"}
  c2 {"id":"o2","amount":20,"city":"Paris"}
  c9 {"id":"o3","amount":30,"city":"unknown"}`,
  'page-views': `
views-by-minute:
  12:00 /docs 1
  12:00 /home 2
  12:01 /home 1
  12:02 /docs 1
late-views:
  /docs carl`,
  payments: `
paid:
  a {"id":"plain","cents":100}
  b {"id":"slow","cents":200}
payments-dead:
  c {"id":"declined","cents":300}
  d {"id":"large","cents":5000}
  e no JSON
sent back: 2
paid:
  a {"id":"plain","cents":100}
  b {"id":"slow","cents":200}
  d {"id":"large","cents":5000}`,
  sessions: `
visits:
  ada 0 minutes: /pricing
  ada 20 minutes: /docs /home
  blaise 40 minutes: /buy /docs /home`,
  webhooks: `
events:
  shop-1 order.created
  shop-1 order.paid
  shop-2 order.created
deliveries-again:
  shop-1 order.created
  shop-2 order.created`,
  'fan-out': `
north:
  o1 {"sku":"lamp","warehouse":"north"}
south:
  o1 {"sku":"rug","warehouse":"south"}
elsewhere:
  o2 {"sku":"desk","warehouse":"moon"}`,
  reminders: `
due:
  dentist: dentist on Tuesday
  flowers: buy flowers
  hello: it works`,
  'orders-and-payments': `
settled:
  o1 {"order":"lamp","cents":100}
  o2 {"order":"rug","cents":"unpaid"}
  o3 {"order":"desk","cents":300}`,
  anomalies: `
alerts:
  boiler {"minute":"12:05","result":55,"usual":20.8}`,
  'http-to-topic': `
{"email":"ada@example.org"} -> 202
{"email":"nobody"} -> 400
what? -> 400
signups:
  ada@example.org {"email":"ada@example.org"}`,
  'read-model': `
{"id":"ada","total":10}
{"id":"ada","total":40}
{"id":"ada","total":60}
{"id":"ada","total":60,"largest":30}
version 1 is replaced
version 2 is live`,
  'batch-import': `
imported: 1000
imported: 1000
books: 166833
lamps: 166167
rugs: 166500`,
}

/** Runs one as a user would, on the built package; what it printed, or how it failed. */
export function runExample(name: string, env: Readonly<Record<string, string>>): Promise<string> {
  const { KAFKA_BROKERS: _, ...inherited } = process.env
  return new Promise((resolve, reject) => {
    const script = fileURLToPath(new URL(`../../examples/${name}.ts`, import.meta.url))
    const child = spawn(process.execPath, ['--import', 'tsx', script], { env: { ...inherited, ...env }, stdio: ['ignore', 'pipe', 'pipe'] })
    let printed = ''
    let errors = ''
    child.stdout.on('data', (data: Buffer) => (printed += data.toString()))
    child.stderr.on('data', (data: Buffer) => (errors += data.toString()))
    child.on('error', reject)
    child.on('close', (code) => (code === 0 ? resolve(printed) : reject(new Error(`${name} ended with ${code}: ${printed}\n${errors}`))))
  })
}
