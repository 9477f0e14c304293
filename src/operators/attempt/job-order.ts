import { Fifo } from '../../runtime/fifo.js'

/** Something that takes its time between going in and coming out. */
export interface Job<Out> {
  /** Jobs of one key follow each other; one without a key follows none. */
  readonly key: string | undefined
  /** Set when it is done. */
  output: Out | undefined
  done: boolean
}

/** In which order jobs start and come out. Memory: the jobs that have not come out. */
export interface JobOrder<J> {
  /** Takes a job in; true if it may start. One that is done already only takes its place. */
  enter(job: J): boolean
  /** Lets out what may come out now that the job is done. Returns the job that may start because of it. */
  leave(job: J): J | undefined
}

/** As they are done. */
export class AnyOrder<Out, J extends Job<Out>> implements JobOrder<J> {
  constructor(private readonly emit: (output: Out) => void) {}

  enter(job: J): boolean {
    if (job.done) this.emit(job.output as Out)
    return !job.done
  }

  leave(job: J): undefined {
    this.emit(job.output as Out)
  }
}

/** Side by side, but out as they went in. */
export class InputOrder<Out, J extends Job<Out>> implements JobOrder<J> {
  private readonly inside = new Fifo<J>()

  constructor(private readonly emit: (output: Out) => void) {}

  enter(job: J): boolean {
    this.inside.push(job)
    if (job.done) this.drain()
    return !job.done
  }

  leave(_job: J): undefined {
    this.drain()
  }

  private drain(): void {
    while (this.inside.first?.done === true) this.emit(this.inside.shift()?.output as Out)
  }
}

/** One after the other within a key, side by side between keys. */
export class KeyOrder<Out, J extends Job<Out>> implements JobOrder<J> {
  /** By key, what waits behind the job under way; a key stays only as long as it has one. */
  private readonly lanes = new Map<string, Fifo<J>>()

  constructor(private readonly emit: (output: Out) => void) {}

  enter(job: J): boolean {
    const lane = job.key === undefined ? undefined : this.lanes.get(job.key)
    if (lane !== undefined) {
      lane.push(job)
      return false
    }
    if (job.done) this.emit(job.output as Out)
    else if (job.key !== undefined) this.lanes.set(job.key, new Fifo())
    return !job.done
  }

  leave(job: J): J | undefined {
    this.emit(job.output as Out)
    if (job.key === undefined) return undefined
    const lane = this.lanes.get(job.key) as Fifo<J>
    for (let next = lane.shift(); next !== undefined; next = lane.shift()) {
      if (!next.done) return next
      this.emit(next.output as Out)
    }
    this.lanes.delete(job.key)
    return undefined
  }
}

/** The same text for the same key, whether it is bytes, as read, or the text they are. */
export function keyText(key: unknown): string | undefined {
  if (key === null || key === undefined) return undefined
  if (typeof key === 'string') return Buffer.from(key, 'utf8').toString('latin1')
  if (key instanceof Uint8Array) return Buffer.from(key.buffer, key.byteOffset, key.length).toString('latin1')
  return typeof key === 'object' ? JSON.stringify(key) : `${typeof key} ${String(key)}`
}
