import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest'
import type { Verdict } from '../faults/checker.js'
import { FAULTS } from '../faults/faults/index.js'
import { shareLab, type Lab } from '../faults/lab.js'
import { Run, type Fault } from '../faults/run.js'
import { uniqueName } from '../support/kafka/client.js'

let lab: Lab
beforeAll(async () => {
  lab = await shareLab(inject('kafkaBrokers'))
})
afterAll(() => lab.close())

/** The short form of `npm run faults`. */
describe('faults', () => {
  const fault = (wanted: string): Fault => {
    const found = FAULTS.find(({ name }) => name === wanted)
    if (found === undefined) throw new Error(`there is no fault '${wanted}'`)
    return found
  }

  it('a member of count killed, and another started in its place', async () => {
    const run = new Run(lab, fault('kill -9, named member'), 'count', { seed: 1 })
    expect((await run.go()).problems).toEqual([])
  }, 180_000)

  it('members of window told to end, one after the other', async () => {
    const run = new Run(lab, fault('rolling SIGTERM'), 'window', { seed: 2 })
    expect((await run.go()).problems).toEqual([])
  }, 180_000)

  it('a member of copy stopped for longer than its session, and let go', async () => {
    const run = new Run(lab, fault('SIGSTOP longer than the session'), 'copy', { seed: 3 })
    expect((await run.go()).problems).toEqual([])
  }, 180_000)
})

describe('the checker', () => {
  const told = async (wrong: string): Promise<readonly string[]> => {
    const name = uniqueName('checker')
    const [input, output, group] = [`${name}-in`, `${name}-out`, name]
    for (const topic of [input, output]) await lab.observer.createTopic({ name: topic, partitions: 2 })
    const order = <T>(order: string, more: object): Promise<T> => lab.checker.order<T>(order, lab.server.brokers, { name, ...more })
    await order('feed', { topics: [input], rules: 'copy', seed: 7, most: 400 })
    expect(await order('fed', {})).toBe(400)
    await order('forge', { input, output, group, wrong })
    const subject = { rules: 'copy', group, inputs: [input], outputs: { out: output }, changelogs: [] }
    return (await order<Verdict>('check', subject)).problems
  }

  it('finds nothing where nothing is wrong', async () => {
    expect(await told('nothing')).toEqual([])
  })

  it('tells one record that was dropped', async () => {
    expect((await told('dropped'))[0]).toMatch(/^out of partition 0: 1 lost .* 0 doubled .* 0 never asked for/)
  })

  it('tells one record that stands twice', async () => {
    expect((await told('doubled'))[0]).toMatch(/^out of partition 0: 0 lost .* 1 doubled .* 0 never asked for/)
  })

  it('tells two records in each other’s place', async () => {
    expect(await told('swapped')).toEqual([expect.stringMatching(/^out of partition 0: out of order; the first difference is at \d+/)])
  })

  it('tells one transaction that is left open', async () => {
    expect(await told('open')).toEqual([expect.stringMatching(/out-0: a transaction is left open/)])
  })

  it('tells offsets that are not at the end', async () => {
    expect(await told('behind')).toEqual([expect.stringMatching(/in-0: the group's offset is 1 records before the end/)])
  })
})
