import { administration } from './administration.js'
import type { ContractCase } from './case.js'
import { closing } from './closing.js'
import { fencing } from './fencing.js'
import { groups } from './groups.js'
import { independentBatches } from './independent-batches.js'
import { deletedRecords } from './deleted-records.js'
import { leaderEpochs } from './leader-epochs.js'
import { offsetCommits } from './offset-commits.js'
import { timestamps } from './timestamps.js'
import { visibility } from './visibility.js'

/** What src/log/port.ts promises, case by case. Every implementation passes all of them. */
export const logContract: readonly ContractCase[] = [
  ...visibility,
  ...independentBatches,
  ...timestamps,
  ...offsetCommits,
  ...leaderEpochs,
  ...fencing,
  ...groups,
  ...administration,
  ...deletedRecords,
  ...closing,
]
