import { chromium, type Browser, type Page } from 'playwright-core'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { attempt, deadLetter, embedded, serveStatus, toTopic, withTransaction, type Cluster, type StatusServer } from '../../src/index.js'
import { until } from '../support/until.js'

const TOKEN = 'a-long-enough-token'

describe('the live page, in a browser', () => {
  let browser: Browser
  let cluster: Cluster
  let server: StatusServer
  let page: Page
  let broken = true
  const faults: string[] = []

  beforeAll(async () => {
    browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args: ['--no-sandbox'] })
  }, 60_000)
  afterAll(() => browser.close())
  afterEach(async () => {
    await page.context().close()
    await server.close()
    await cluster.close()
  })

  const open = async (partitions: number): Promise<void> => {
    broken = true
    faults.length = 0
    cluster = embedded()
    await cluster.createTopics([{ topic: 'in', partitions }, { topic: 'out' }, { topic: 'dead' }])
    cluster
      .source({ group: 'orders', topics: ['in'] })
      .pipe(
        withTransaction(
          (records) =>
            records.pipe(
              attempt((record) => {
                const end = performance.now() + 5
                while (performance.now() < end);
                if (broken && String(record.value) === 'bad') throw new Error('the service said no')
                return record
              }),
              deadLetter({ topic: 'dead' }),
              toTopic({ topic: 'out' }),
            ),
          { every: '20ms', sampleSteps: 1 },
        ),
      )
      .subscribe()
    await until(() => cluster.status.snapshot().pipelines[0]?.state === 'running')
    server = await serveStatus(cluster, { port: 0, token: TOKEN, deadLetters: { cluster, content: true }, commands: true })
    page = await browser.newPage()
    page.on('console', (message) => {
      if (message.type() === 'error' && !message.text().includes('401')) faults.push(message.text())
    })
    page.on('pageerror', (error) => faults.push(String(error)))
    page.on('request', (request) => {
      if (new URL(request.url()).origin !== new URL(server.url).origin || request.url().includes(TOKEN)) faults.push(request.url())
    })
    await page.goto(`${server.url}/`)
    await page.fill('#token', 'a-wrong-token')
    await page.press('#token', 'Enter')
    await page.getByText('This token was refused.').waitFor()
    await page.fill('#token', TOKEN)
    await page.press('#token', 'Enter')
    await page.locator('svg.graph').waitFor()
  }

  it('draws the graph, tells new numbers, and sends a dead letter back after a dry run; nothing leaves its origin', async () => {
    await open(2)
    expect(await page.locator('svg.graph .node').allTextContents()).toEqual(
      expect.arrayContaining(['inin', 'attemptattempt', 'outout', 'deaddead', 'toTopic outtoTopic out']),
    )
    await cluster.produce({ topic: 'in', records: [{ value: 'good' }, { value: 'bad' }] })
    await page.locator('[data-figure="Read"]', { hasText: '2 in all' }).waitFor()
    await page.locator('[data-figure="Dead letters"]', { hasText: /^1 / }).waitFor()

    await page.locator('.node.slow', { hasText: 'attempt' }).waitFor()

    await page.click('#letters-load')
    await page.click('tr.letter button')
    expect(await page.locator('#letter-value').textContent()).toBe('bad')
    broken = false
    await page.getByRole('button', { name: 'Dry run of these' }).click()
    await page.getByText(/Would send 1,/).waitFor()
    expect(await valuesOf('out')).toEqual(['good'])
    await page.getByRole('button', { name: 'Redrive 1' }).click()
    await page.getByText(/Sent 1,/).waitFor()
    await until(async () => (await valuesOf('out')).length === 2)
    expect((await valuesOf('out')).sort()).toEqual(['bad', 'good'])
    expect(faults).toEqual([])
  })

  it('lists 400 partitions by the rows in sight, by keyboard and on a narrow screen, and pauses one that others do not notice', async () => {
    await open(400)
    await page.locator('#partition-count', { hasText: '400 of 400' }).waitFor()
    expect(await page.locator('[data-partition]').count()).toBeLessThan(60)
    await page.locator('.window').focus()
    await page.keyboard.press('End')
    await page.locator('[data-partition="in/399"]').waitFor()

    await page.setViewportSize({ width: 390, height: 800 })
    await page.locator('[data-partition="in/399"]').getByRole('button', { name: 'Pause' }).click()
    await page.locator('[data-partition="in/399"]', { hasText: 'paused' }).waitFor()
    const records = [398, 399].map((partition) => ({ partition, value: `of ${partition}` }))
    await cluster.produce({ topic: 'in', records })
    await page.locator('[data-figure="Read"]', { hasText: '1 in all' }).waitFor()
    expect(await valuesOf('out')).toEqual(['of 398'])
    await page.locator('[data-partition="in/399"]').getByRole('button', { name: 'Resume' }).click()
    await page.locator('[data-figure="Read"]', { hasText: '2 in all' }).waitFor()
    await until(async () => (await valuesOf('out')).length === 2)
    expect(await page.evaluate('document.documentElement.scrollWidth <= innerWidth')).toBe(true)
    expect(faults).toEqual([])
  })

  const valuesOf = async (topic: string): Promise<string[]> => {
    const values: string[] = []
    for await (const { value } of cluster.read({ topic })) values.push(String(value))
    return values
  }
})
