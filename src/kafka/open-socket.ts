import { connect as connectTcp, isIP, type Socket } from 'node:net'
import { connect as connectTls } from 'node:tls'
import type { SocketRequest } from './kafkajs.js'

const KEEP_ALIVE_MS = 60_000

/** Nagle's algorithm would hold small requests back until the last one is acknowledged. */
export function openSocket({ host, port, ssl, onConnect }: SocketRequest, room: () => Buffer, filledBy: (count: number) => void): Socket {
  const onread = {
    buffer: room,
    callback: (count: number) => {
      filledBy(count)
      return true
    },
  }
  const socket =
    ssl === null || ssl === false
      ? connectTcp({ host, port, onread }, onConnect)
      : connectTls({ host, port, ...(isIP(host) === 0 ? { servername: host } : {}), ...(ssl === true ? {} : ssl) }, onConnect)
  socket.setNoDelay(true)
  socket.setKeepAlive(true, KEEP_ALIVE_MS)
  return socket
}
