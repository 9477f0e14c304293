import { z } from 'zod'
import type { FailedRecord } from '../record/failed-record.js'

/** Errors of a kind: a class, the text of an error's `code`, or a function that knows them. */
export type ErrorMatch = (abstract new (...args: never[]) => Error) | string | ((error: unknown, failed: FailedRecord) => boolean)

type Test = (failed: FailedRecord) => boolean

/** One or several of them, as one test. */
export const errorMatch = z
  .union(
    [
      z.string().min(1),
      z.custom<ErrorMatch>((given) => typeof given === 'function'),
      z.array(z.union([z.string().min(1), z.custom<ErrorMatch>((given) => typeof given === 'function')])).min(1),
    ],
    {
      message: "expected error classes, codes such as 'ECONNREFUSED', functions of the error, or a list of these",
    },
  )
  .transform((given): Test => {
    const tests = (Array.isArray(given) ? given : [given]).map(testOf)
    return (failed) => tests.some((test) => test(failed))
  })

function testOf(match: ErrorMatch): Test {
  if (typeof match === 'string')
    return ({ error }) => typeof error === 'object' && error !== null && String((error as { readonly code?: unknown }).code) === match
  if (isErrorClass(match)) return ({ error }) => error instanceof match
  return (failed) => (match as (error: unknown, failed: FailedRecord) => boolean)(failed.error, failed)
}

function isErrorClass(match: Exclude<ErrorMatch, string>): match is abstract new (...args: never[]) => Error {
  const prototype: unknown = match.prototype
  return match === Error || prototype instanceof Error
}

/** What a retry is made for, of `only` and `except`: by default all but what time cannot change. */
export function worthRetrying(only: Test | undefined, except: Test | undefined): Test {
  return (failed) => (only === undefined ? failed.retryable : only(failed)) && except?.(failed) !== true
}
