import type { OwnDivision, OwnSubscription } from './messages.js'

/** What older versions leave out. */
const ABSENT = { changing: [], inner: undefined, stateful: true }

const NOT_REFUSED = { refused: undefined, count: undefined }

export const jsonSubscription = {
  encode: (subscription: OwnSubscription): Buffer => Buffer.from(JSON.stringify(subscription)),
  decode: (bytes: Buffer): OwnSubscription => ({ ...ABSENT, ...(JSON.parse(bytes.toString('utf8')) as OwnSubscription) }),
}

export const jsonAssignment = {
  encode: (division: OwnDivision): Buffer => Buffer.from(JSON.stringify(division)),
  decode: (bytes: Buffer): OwnDivision => ({ ...NOT_REFUSED, ...(JSON.parse(bytes.toString('utf8')) as OwnDivision) }),
}
