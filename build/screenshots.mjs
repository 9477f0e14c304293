// Takes the pictures of the live page in docs/, of the demo: npm run screenshots
import { spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { chromium } from 'playwright-core'

const docs = (name) => fileURLToPath(new URL(`../docs/${name}`, import.meta.url))
const demo = spawn(process.execPath, ['--import', 'tsx', 'examples/demo.ts', '--page'], { stdio: ['ignore', 'inherit', 'pipe'] })
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args: ['--no-sandbox'] })
try {
  const token = await new Promise((resolve, reject) => {
    demo.on('exit', () => reject(new Error('the demo ended')))
    let said = ''
    demo.stderr.on('data', (data) => {
      said += String(data)
      const found = /its token: (\S+)/.exec(said)
      if (found !== null) resolve(found[1])
    })
  })
  for (const colorScheme of ['light', 'dark']) {
    const page = await browser.newPage({ viewport: { width: 1_100, height: 900 }, colorScheme })
    await page.goto('http://127.0.0.1:9090/')
    await page.fill('#token', token)
    await page.press('#token', 'Enter')
    await page.locator('.edge .flow').first().waitFor({ state: 'attached' })
    // Charts want something to show.
    await page.waitForTimeout(12_000)
    await page.screenshot({ path: docs(`page-${colorScheme}.png`) })
    await page.close()
  }
} finally {
  await browser.close()
  demo.kill('SIGKILL')
}
