import { shutdownSignal, toTopic, withTransaction, type Cluster } from '../../../src/index.js'

export const pipeline = (cluster: Cluster) =>
  cluster
    .source({ group: 'copy', topics: ['in'], startFrom: { timestamp: Date.parse('2026-01-01T00:00:00Z') }, signal: shutdownSignal() })
    .pipe(withTransaction((records) => records.pipe(toTopic({ topic: 'out' })), { every: '100ms' }))
