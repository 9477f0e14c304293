import type { TraceEvent } from '../../src/index.js'

/**
 * How a test program reaches its broker, and where it dies: KILL_AT names a step of the transaction, KILL_AFTER how often it is let pass.
 */
export function doomed(): { brokers: string[]; trace: (event: TraceEvent) => void } {
  const { KAFKA_BROKERS = '', KILL_AT, KILL_AFTER = '0' } = process.env
  let passed = 0
  return {
    brokers: KAFKA_BROKERS.split(','),
    trace({ step, commit }) {
      // SIGKILL at once: no handler, no flush, no goodbye to the broker.
      if (step === KILL_AT && commit !== false && passed++ >= Number(KILL_AFTER)) process.kill(process.pid, 'SIGKILL')
    },
  }
}
