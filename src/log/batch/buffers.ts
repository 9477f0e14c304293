/** A batch this large is worth a request; larger ones only delay the first byte. */
export const BATCH_BYTES = 512 * 1024
const MAX_FREE = 48

/**
 * Buffers that batches are written into, used again once their batch is in the log: at a hundred megabytes a second new ones would cost the
 * garbage collector more than writing them costs.
 */
class BatchBuffers {
  private readonly free: ArrayBuffer[] = []

  /** Of at least that size, with anything in it. */
  take(size: number): Buffer {
    if (size <= BATCH_BYTES / 2 || size > BATCH_BYTES) return Buffer.allocUnsafe(size)
    const used = this.free.pop()
    return used === undefined ? Buffer.allocUnsafeSlow(BATCH_BYTES) : Buffer.from(used)
  }

  /** Only for bytes that nobody will look at again: not the log, not a socket, not a record. */
  giveBack({ buffer }: Buffer): void {
    if (buffer.byteLength === BATCH_BYTES && buffer instanceof ArrayBuffer && this.free.length < MAX_FREE) this.free.push(buffer)
  }
}

export const batchBuffers = new BatchBuffers()
