import { writeSync } from 'node:fs'
import type { Reporter, TestModule, TestRunEndReason } from 'vitest/node'

/** Prints "N passed, N failed" as the very last line, for whoever reads logs by machine. */
export default class SummaryReporter implements Reporter {
  private passed = 0
  // Until a run has ended well, something has failed: a global set-up, or vitest itself.
  private failed = 1

  onInit(): void {
    process.on('exit', () => {
      if (this.failed > 0 && (process.exitCode ?? 0) === 0) process.exitCode = 1
      // The line must be out before the process is gone, also into a pipe.
      writeSync(1, `${this.passed} passed, ${this.failed} failed\n`)
    })
  }

  onTestRunEnd(modules: readonly TestModule[], unhandled: readonly unknown[], reason: TestRunEndReason): void {
    this.passed = 0
    this.failed = unhandled.length
    for (const module of modules) {
      // A file that cannot be loaded, or a hook that throws, has no test to fail; its tests are skipped.
      this.failed += module.errors().length
      for (const suite of module.children.allSuites()) this.failed += suite.errors().length
      for (const test of module.children.allTests()) {
        const { state } = test.result()
        if (state === 'passed') this.passed++
        else if (state !== 'skipped') this.failed++
      }
    }
    if (this.failed === 0 && reason !== 'passed') this.failed = 1
  }
}
