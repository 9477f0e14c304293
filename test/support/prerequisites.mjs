/**
 * What the tests need beside npm packages, looked for before anything runs: Debian packages are installed where that is one command of
 * root's, else said how. Java and Maven are looked for by the Kafka tests themselves.
 */
import { spawnSync } from 'node:child_process'
import { existsSync, readdirSync } from 'node:fs'

const has = (command) => spawnSync(command, ['--version'], { stdio: 'ignore' }).error === undefined

/** PostgreSQL's server programs are not on the path of Debian's package. */
const hasPostgres = () =>
  has('postgres') ||
  (existsSync('/usr/lib/postgresql') && readdirSync('/usr/lib/postgresql').some((v) => existsSync(`/usr/lib/postgresql/${v}/bin/postgres`)))

const NEEDED = [
  { name: 'Redis', debian: 'redis-server', brew: 'redis', url: 'REDIS_URL', there: () => has('redis-server') },
  { name: 'PostgreSQL', debian: 'postgresql', brew: 'postgresql', url: 'DATABASE_URL', there: hasPostgres },
  { name: 'Chromium', debian: 'chromium', brew: 'chromium', there: () => has('chromium') },
  { name: 'Prometheus', debian: 'prometheus', brew: 'prometheus', there: () => has('prometheus') && has('promtool') },
]

const missing = NEEDED.filter((need) => (need.url === undefined || process.env[need.url] === undefined) && !need.there())

function refuse(reason) {
  console.error(reason)
  for (const { name, debian, brew, url } of missing) {
    const named = url === undefined ? '' : `, or name one that runs in ${url}`
    console.error(`The tests need ${name}: install it (Debian, Ubuntu: apt-get install ${debian}; macOS: brew install ${brew})${named}.`)
  }
  process.exit(1)
}

if (missing.length > 0) {
  if (process.getuid?.() !== 0 || !has('apt-get')) refuse('Something the tests need is missing.')
  const packages = missing.map(({ debian }) => debian)
  console.error(`installing for the tests: apt-get install ${packages.join(' ')}`)
  for (const step of [
    ['update', '-q'],
    ['install', '-yq', '--no-install-recommends', ...packages],
  ]) {
    const { status } = spawnSync('apt-get', step, { stdio: ['ignore', 2, 2], env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' } })
    if (status !== 0) refuse(`apt-get ${step.join(' ')} failed.`)
  }
}
