import type { TaskProgress } from './effects.js'
import type { Task } from './task.js'

/** Where each topic of a task stands beside what the log has of it. Not while a commit is under way, which nothing runs beside then. */
export function progressOf(task: Task): TaskProgress {
  const topics = task.standing().map(({ topic, offset: position }) => {
    const { offset: committed, stored } = task.committedOf(topic)
    return { topic, committed, stored, position, effects: task.metadata.get(topic) }
  })
  return { partition: task.partition, topics }
}
