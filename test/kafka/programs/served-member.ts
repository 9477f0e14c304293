// A member in a process of its own; tells where it serves its status.
import { servedMember } from './served.js'

const { address } = await servedMember(process.env)
console.log(address)
