import type { LogClient } from '../../src/log/port.js'

/** The log a case runs on. */
export interface ContractLog {
  readonly client: LogClient
  /** What another process has of the same log. */
  newClient(): LogClient
}

/** One thing an implementation of the port must do; `run` rejects where it does not. */
export interface ContractCase {
  readonly name: string
  run(log: ContractLog): Promise<void>
}

/** Runs a case on clients of its own, and closes them. */
export async function runCase(contractCase: ContractCase, open: () => LogClient): Promise<void> {
  const opened: LogClient[] = []
  const newClient = (): LogClient => {
    const client = open()
    opened.push(client)
    return client
  }
  try {
    await contractCase.run({ client: newClient(), newClient })
  } finally {
    await Promise.all(opened.map((client) => client.close()))
  }
}
