/** What one run of a program gave. */
export interface Sample {
  readonly recordsPerSecond: number
  readonly cpuMicrosPerRecord: number
  readonly peakMegabytes: number
}

export interface Row {
  readonly key: string
  readonly value: string
  readonly timestamp: number
}

/** A topic that is filled before anything is measured. Those of one name are filled once for all workloads. */
export interface Input {
  readonly name: string
  readonly partitions: number
  /** Of a table: compacted, and read by no source. */
  readonly table?: boolean
  rows(): Iterable<Row>
}

/** One of those that do the job: which program, and how it is told to. */
export interface Entry {
  readonly label: string
  readonly program: ProgramName
  readonly env?: Readonly<Record<string, string>>
}

export type ProgramName =
  'millrace' | 'node 22' | 'node 24' | 'floor' | 'streams' | 'java-loop' | 'kafkajs' | 'platformatic' | 'confluent' | 'quixstreams'

/** What is to be reached within one run: the first entry's rate over the second's, at least. */
export interface Goal {
  readonly of: string
  readonly over: string
  readonly atLeast: number
  /** By records for a second of CPU, where the second does without a broker, which takes of the same cores. */
  readonly by?: 'cpu'
}

/** One job that several programs do on the same records, in turns. */
export interface Workload {
  readonly id: string
  readonly title: string
  /** What the programs are told to do. */
  readonly mode: string
  readonly entries: readonly Entry[]
  readonly goals: readonly Goal[]
  /** How many records the bench gives each program, of so many asked for. */
  readonly records: (asked: number) => number
  readonly inputs: (records: number) => readonly Input[]
  /** Throws unless the output is that of the job; says what it looked at. */
  readonly verify: (output: AsyncIterable<Output>, records: number) => Promise<string>
}

export interface Output {
  readonly key: string
  readonly value: string
}
