import { FAULTS } from './faults/index.js'
import { PIPELINE_NAMES, type PipelineName } from './pipelines/index.js'
import { Random } from './random.js'
import type { Fault } from './run.js'

/** Some faults in a row on one pipeline, all chosen by the seed. */
export function randomFault(seed: number, replicated: boolean): { readonly fault: Fault; readonly pipeline: PipelineName } {
  const random = new Random(seed)
  const possible = FAULTS.filter((fault) => fault.soak === true || (replicated && fault.replicated === true))
  const chosen = Array.from({ length: random.between(2, 4) }, () => random.of(possible))
  return {
    pipeline: random.of(PIPELINE_NAMES),
    fault: {
      name: 'soak',
      how: chosen.map(({ name }) => name).join('; '),
      pipelines: PIPELINE_NAMES,
      async inject(run) {
        for (const { inject } of chosen) await inject(run)
      },
    },
  }
}
