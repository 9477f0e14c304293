import type { Api, Throttled } from './api.js'
import { Writer } from './writer.js'

/** A request as it goes to the socket: its length, header and body. */
export function encodeRequest<Request, Response extends Throttled>(
  api: Api<Request, Response>,
  body: Request,
  correlationId: number,
  clientId: string,
): readonly Buffer[] {
  const writer = new Writer()
  writer.int32(0)
  writer.int16(api.key)
  writer.int16(api.version)
  writer.int32(correlationId)
  writer.string(clientId)
  if (api.flexible) writer.noTags()
  api.encode(writer, body)
  return writer.finish()
}
