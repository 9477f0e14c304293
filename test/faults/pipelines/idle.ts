import type { Pipeline } from './index.js'
import { windows } from './window.js'

export const pipeline: Pipeline = { project: windows({ closeWhenIdle: '1s' }) }
