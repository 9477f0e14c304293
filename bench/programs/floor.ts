// What a copy cannot do without: the bytes through a socket, a crc over them, a copy, a crc over that, and through a socket again.
import { fork } from 'node:child_process'
import { connect, createServer, type AddressInfo } from 'node:net'
import { crc32c } from '@node-rs/crc32'
import { Stopwatch } from './report.js'

/** As much as a broker puts into one answer for one partition (max.partition.fetch.bytes). */
const FRAME = 1 << 20
const { RECORDS = '0', RECORD_BYTES = '100' } = process.env
const records = Number(RECORDS)
const total = records * Number(RECORD_BYTES)

/** The other end in a process of its own, as the broker is: it sends all bytes and takes all that come back. */
function otherEnd(): void {
  const frame = Buffer.alloc(FRAME, 'x')
  const server = createServer((socket) => {
    let sent = 0
    const send = (): void => {
      while (sent < total) {
        const size = Math.min(FRAME, total - sent)
        sent += size
        if (!socket.write(frame.subarray(0, size))) return void socket.once('drain', send)
      }
    }
    let taken = 0
    socket.on('data', (chunk: Buffer) => {
      taken += chunk.length
      if (taken === total) (socket.end('.'), server.close())
    })
    send()
  })
  server.listen(0, '127.0.0.1', () => process.send?.((server.address() as AddressInfo).port))
}

function copy(port: number): void {
  const watch = new Stopwatch()
  const socket = connect(port, '127.0.0.1')
  let frame = Buffer.allocUnsafe(FRAME)
  let filled = 0
  let read = 0
  let crcs = 0
  socket.on('data', (chunk: Buffer) => {
    watch.start()
    // The dot at the end says that all has arrived.
    const bytes = read + chunk.length > total ? chunk.subarray(0, total - read) : chunk
    const over = chunk.length > bytes.length || (bytes.length === 0 && read === total)
    for (let at = 0; at < bytes.length;) {
      const size = Math.min(FRAME - filled, bytes.length - at)
      bytes.copy(frame, filled, at, at + size)
      filled += size
      at += size
      read += size
      if (filled < FRAME && read < total) continue
      crcs ^= crc32c(frame.subarray(0, filled))
      const out = Buffer.allocUnsafe(filled)
      frame.copy(out, 0, 0, filled)
      crcs ^= crc32c(out)
      if (!socket.write(out)) (socket.pause(), socket.once('drain', () => socket.resume()))
      frame = Buffer.allocUnsafe(FRAME)
      filled = 0
    }
    if (!over) return
    watch.report(records)
    if (crcs !== 0) throw new Error('a copy differs from what was copied')
    socket.end()
  })
}

if (process.send === undefined) fork(new URL(import.meta.url), { execArgv: process.execArgv }).on('message', (port) => copy(port as number))
else otherEnd()
