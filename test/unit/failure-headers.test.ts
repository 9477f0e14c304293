import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  failureHeaderNames,
  failureHeaders,
  readFailure,
  readNote,
  type FailureHeaders,
  type FailureNote,
} from '../../src/record/failure-headers.js'
import { addedHeaders, encodeHeaders, readHeaders, replaceHeaders, type HeadersInput } from '../../src/record/headers.js'
import { originText } from '../../src/record/origin.js'
import { backoffMs } from '../../src/operators/attempt/backoff.js'
import { Fifo } from '../../src/runtime/fifo.js'

const PRESETS: readonly FailureHeaders[] = ['millrace', 'spring', 'streams']
const SAFE = Number.MAX_SAFE_INTEGER
const topic = fc.stringMatching(/^[a-zA-Z0-9._-]{1,40}$/)
const filled = fc.string({ minLength: 1, unit: 'grapheme' })
const origins = fc.record({ topic, partition: fc.integer({ min: 0, max: 2 ** 31 - 1 }), offset: fc.integer({ min: 0, max: SAFE }) })
const failures: fc.Arbitrary<FailureNote> = fc.record({
  origin: origins,
  lineage: fc.option(fc.record({ first: origins, here: fc.option(origins, { nil: undefined }) }), { nil: undefined }),
  timestamp: fc.integer({ min: -1, max: Date.UTC(9999, 0) }),
  step: filled,
  error: fc.stringMatching(/^[A-Za-z.$_]{1,30}$/),
  code: fc.option(filled, { nil: undefined }),
  message: fc.string({ unit: 'grapheme' }),
  stack: fc.string({ unit: 'grapheme' }),
  attempts: fc.integer({ min: 1, max: 2 ** 31 - 1 }),
})

/** One header after the other, as the wire has them: names may repeat anywhere. */
const section = (entries: readonly (readonly [string, string | null])[]): Buffer =>
  entries.reduce(
    (bytes, [name, value]) =>
      replaceHeaders(bytes, 0, new Set(), Object.defineProperty({}, name, { value, enumerable: true }) as HeadersInput),
    encodeHeaders({}),
  )

describe('failure headers', () => {
  for (const preset of PRESETS) {
    it(`${preset}: what was written is read`, () => {
      fc.assert(
        fc.property(failures, (failure) => {
          const headers = failureHeaders(failure, preset)
          expect(Object.keys(headers).every((name) => failureHeaderNames(preset).has(name))).toBe(true)
          const { lineage, ...rest } = failure
          const read = readHeaders(encodeHeaders(headers), 0)
          expect(readNote(read)).toEqual(failure)
          expect(readFailure(read)).toEqual({ ...rest, id: originText(lineage?.first ?? failure.origin) })
          const { count, text } = addedHeaders(headers)
          expect(Buffer.concat([encodeHeaders({}).fill(count * 2), Buffer.from(text, 'latin1')])).toEqual(encodeHeaders(headers))
        }),
      )
    })

    it(`${preset}: of a header that stands there more than once the last one counts; nonsense is not taken for a number`, () => {
      const name = { millrace: 'millrace.attempts', spring: 'kafka_deliveryAttempt', streams: 'millrace.attempts' }[preset]
      const failure: FailureNote = {
        origin: { topic: 't', partition: 1, offset: 2 },
        timestamp: 3,
        step: 's',
        error: 'E',
        code: undefined,
        message: 'm',
        stack: '',
        attempts: 4,
      }
      const written = failureHeaders(failure, preset)
      const read = (value: string | Buffer | readonly (string | Buffer | null)[]): number | undefined =>
        readFailure(readHeaders(encodeHeaders({ ...written, [name]: value }), 0))?.attempts
      expect(read(['9', null, written[name] as string])).toBe(4)
      for (const nonsense of ['', 'three', '4.5', '99999999999999999999', Buffer.alloc(3)]) expect(read(nonsense)).toBe(1)
      expect(read([written[name] as string, null])).toBe(1)
    })
  }

  it('none are read where there are none', () => {
    expect(readFailure(readHeaders(encodeHeaders({ trace: 'x' }), 0))).toBeUndefined()
  })

  it("Kafka Streams' own exception header holds the message too", () => {
    const headers = {
      '__streams.errors.topic': 't',
      '__streams.errors.partition': '3',
      '__streams.errors.offset': '12',
      '__streams.errors.exception': 'java.lang.RuntimeException: no: never',
    }
    expect(readFailure(readHeaders(encodeHeaders(headers), 0))).toMatchObject({
      origin: { topic: 't', partition: 3, offset: 12 },
      error: 'java.lang.RuntimeException',
      timestamp: -1,
      attempts: 1,
    })
  })
})

describe('replaceHeaders', () => {
  const entries = fc.array(fc.tuple(fc.constantFrom('a', 'b', 'c', '__proto__', ''), fc.option(fc.string())), { maxLength: 8 })

  it('takes out what is named, wherever it stands, and leaves all else byte for byte in its order', () => {
    fc.assert(
      fc.property(entries, fc.uniqueArray(fc.constantFrom('a', 'b', '__proto__')), (all, names) => {
        const kept = all.filter(([name]) => !(names as readonly string[]).includes(name))
        expect(replaceHeaders(section(all), 0, new Set(names), { new: '1' })).toEqual(section([...kept, ['new', '1']]))
      }),
    )
  })

  it('keeps names that are not UTF-8', () => {
    const odd = Buffer.from([2, 4, 0xff, 0xfe, 1])
    expect(replaceHeaders(odd, 0, new Set(['a']), {})).toEqual(odd)
  })
})

describe('backoffMs', () => {
  it('full jitter: any time up to the longest, which doubles up to its bound', () => {
    const backoff = { delay: 100, maxDelay: 1_000, jitter: 'full' } as const
    expect([1, 2, 3, 4, 5, 2_000].map((failures) => backoffMs(backoff, failures, () => 1))).toEqual([100, 200, 400, 800, 1_000, 1_000])
    expect([0, 0.25, 0.999].map((random) => backoffMs(backoff, 3, () => random))).toEqual([0, 100, 399.6])
  })
})

describe('Fifo', () => {
  it('gives back what went in, in that order', () => {
    fc.assert(
      fc.property(fc.array(fc.option(fc.integer())), (steps) => {
        const [fifo, model] = [new Fifo<number>(), [] as number[]]
        for (const step of steps) {
          if (step === null) expect(fifo.shift()).toBe(model.shift())
          else (fifo.push(step), model.push(step))
          expect([fifo.length, fifo.first]).toEqual([model.length, model[0]])
        }
      }),
    )
  })
})
