import type { Lane } from './lane.js'

/** A broker reads a connection's next request only when it has answered the last: partitions are spread over so many. */
export const CONNECTIONS = 2

/** One connection to one broker. */
export interface Route {
  readonly node: number
  readonly lane: Lane
  /** Requests on their way. */
  inFlight: number
}

/** Which of the connections to its leader a partition's batches go over: always the same, so that they stay in order. */
export class Routes {
  private readonly routes = new Map<string, Route>()

  constructor(private readonly lanes: readonly Lane[]) {}

  to(node: number, partition: number): Route {
    const at = partition % this.lanes.length
    const name = `${node}/${at}`
    let route = this.routes.get(name)
    if (route === undefined) this.routes.set(name, (route = { node, lane: this.lanes[at] as Lane, inFlight: 0 }))
    return route
  }
}
