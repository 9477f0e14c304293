import type { Api, Throttled } from './api.js'

export interface DescribeConfigsResponse extends Throttled {
  readonly results: readonly { readonly error: number; readonly topic: string; readonly config: ReadonlyMap<string, string | null> }[]
}

const TOPIC = 2

/** Reads the settings named, of topics. */
export const DescribeConfigs: Api<{ readonly topics: readonly string[]; readonly names: readonly string[] }, DescribeConfigsResponse> = {
  key: 32,
  name: 'DescribeConfigs',
  version: 2,
  flexible: false,
  encode(writer, { topics, names }) {
    writer.array(topics, (topic) => {
      writer.int8(TOPIC)
      writer.string(topic)
      writer.array(names, (name) => writer.string(name))
    })
    writer.bool(false)
  },
  decode(reader) {
    const throttleMs = reader.int32()
    const results = reader.array(() => {
      const error = reader.int16()
      reader.nullableString()
      reader.int8()
      const topic = reader.string()
      const config = new Map<string, string | null>()
      reader.array(() => {
        config.set(reader.string(), reader.nullableString())
        reader.bool()
        reader.int8()
        reader.bool()
        reader.array(() => {
          reader.string()
          reader.nullableString()
          reader.int8()
        })
      })
      return { error, topic, config }
    })
    return { throttleMs, results }
  },
}
