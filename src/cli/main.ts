#!/usr/bin/env node
import { kafka, shutdownSignal } from '../index.js'
import { run } from './run.js'

void run(process.argv.slice(2), {
  out: (text) => void process.stdout.write(text),
  error: (text) => void process.stderr.write(text),
  interactive: process.stderr.isTTY === true,
  terminal: process.stdout.isTTY === true,
  env: process.env,
  signal: () => shutdownSignal(),
  connect: kafka,
}).then((code) => {
  process.exitCode = code
})
