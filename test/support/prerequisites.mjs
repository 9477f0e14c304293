/**
 * What the tests need beside npm packages, looked for before anything runs: Redis is installed where that is one command of root's, else
 * said how. Java and Maven are looked for by the Kafka tests themselves.
 */
import { spawnSync } from 'node:child_process'

const has = (command) => spawnSync(command, ['--version'], { stdio: 'ignore' }).error === undefined

if (process.env.REDIS_URL === undefined && !has('redis-server')) {
  if (process.getuid?.() !== 0 || !has('apt-get')) {
    console.error(
      'The tests need Redis: install it (Debian, Ubuntu: apt-get install redis-server; macOS: brew install redis), or name one that runs in REDIS_URL.',
    )
    process.exit(1)
  }
  console.error('installing redis-server for the tests: apt-get install redis-server')
  const steps = [
    ['update', '-q'],
    ['install', '-yq', '--no-install-recommends', 'redis-server'],
  ]
  for (const step of steps) {
    const { status } = spawnSync('apt-get', step, { stdio: ['ignore', 2, 2], env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' } })
    if (status !== 0) {
      console.error(`apt-get ${step.join(' ')} failed: install redis-server by hand, or name a Redis that runs in REDIS_URL`)
      process.exit(1)
    }
  }
}
