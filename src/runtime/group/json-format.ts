import type { OwnDivision, OwnSubscription } from './messages.js'

/** What older versions leave out. */
const ABSENT = { changing: [], inner: undefined, stateful: true, seat: undefined, seats: 0 }

const UNSAID = { refused: undefined, count: undefined, seat: undefined, seats: 0, vacant: [] }

export const jsonSubscription = {
  encode: (subscription: OwnSubscription): Buffer => Buffer.from(JSON.stringify(subscription)),
  decode: (bytes: Buffer): OwnSubscription => ({ ...ABSENT, ...(JSON.parse(bytes.toString('utf8')) as OwnSubscription) }),
}

export const jsonAssignment = {
  encode: (division: OwnDivision): Buffer => Buffer.from(JSON.stringify(division)),
  decode: (bytes: Buffer): OwnDivision => ({ ...UNSAID, ...(JSON.parse(bytes.toString('utf8')) as OwnDivision) }),
}
