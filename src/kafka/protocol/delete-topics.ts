import type { Api, Throttled } from './api.js'

export interface DeleteTopicsResponse extends Throttled {
  readonly results: readonly { readonly topic: string; readonly error: number }[]
}

export const DeleteTopics: Api<{ readonly topics: readonly string[]; readonly timeoutMs: number }, DeleteTopicsResponse> = {
  key: 20,
  name: 'DeleteTopics',
  version: 3,
  flexible: false,
  encode(writer, { topics, timeoutMs }) {
    writer.array(topics, (topic) => writer.string(topic))
    writer.int32(timeoutMs)
  },
  decode(reader) {
    const throttleMs = reader.int32()
    return { throttleMs, results: reader.array(() => ({ topic: reader.string(), error: reader.int16() })) }
  },
}
