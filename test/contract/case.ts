import type { LogClient, PartitionOffset } from '../../src/log/port.js'

/** The log a case runs on. */
export interface ContractLog {
  readonly client: LogClient
  /** What another process has of the same log. */
  newClient(): LogClient
  /** Deletes the records before an offset, as retention does. */
  deleteBefore(at: PartitionOffset): Promise<void>
}

/** How the cases reach an implementation. */
export interface ContractHost {
  readonly open: () => LogClient
  readonly deleteBefore: (at: PartitionOffset) => Promise<void>
}

/** One thing an implementation of the port must do; `run` rejects where it does not. */
export interface ContractCase {
  readonly name: string
  run(log: ContractLog): Promise<void>
}

/** Runs a case on clients of its own, and closes them. */
export async function runCase(contractCase: ContractCase, { open, deleteBefore }: ContractHost): Promise<void> {
  const opened: LogClient[] = []
  const newClient = (): LogClient => {
    const client = open()
    opened.push(client)
    return client
  }
  try {
    await contractCase.run({ client: newClient(), newClient, deleteBefore })
  } finally {
    await Promise.all(opened.map((client) => client.close()))
  }
}
