/** Requests by name: their keys in the protocol. */
export const API = { Produce: 0, Heartbeat: 12, JoinGroup: 11, SyncGroup: 14, InitProducerId: 22, EndTxn: 26, TxnOffsetCommit: 28 } as const
export type Api = keyof typeof API
