import type { Api, Throttled } from './api.js'

export interface VersionRange {
  readonly min: number
  readonly max: number
}

export interface ApiVersionsResponse extends Throttled {
  readonly error: number
  readonly versions: ReadonlyMap<number, VersionRange>
  /** Finalised features: name to the level in force. */
  readonly features: ReadonlyMap<string, number>
}

/**
 * Version 3, the first to list features. Its response header is never flexible, so that a broker which does not know the version can still
 * answer: with version 0 and UNSUPPORTED_VERSION.
 */
export const ApiVersions: Api<object, ApiVersionsResponse> = {
  key: 18,
  name: 'ApiVersions',
  version: 3,
  flexible: true,
  encode(writer) {
    writer.compactString('millrace')
    writer.compactString(SOFTWARE_VERSION)
    writer.noTags()
  },
  decode(reader) {
    const error = reader.int16()
    const versions = new Map<number, VersionRange>()
    const features = new Map<string, number>()
    if (error !== 0) return { throttleMs: 0, error, versions, features }
    reader.compactArray(() => {
      versions.set(reader.int16(), { min: reader.int16(), max: reader.int16() })
      reader.tags()
    })
    const throttleMs = reader.int32()
    reader.eachTag((tag) => {
      if (tag !== FINALIZED_FEATURES) return
      reader.compactArray(() => {
        features.set(reader.compactString(), reader.int16())
        reader.int16()
        reader.tags()
      })
    })
    return { throttleMs, error, versions, features }
  },
}

/** Only shown in the brokers' metrics. */
const SOFTWARE_VERSION = '0'
const FINALIZED_FEATURES = 2
