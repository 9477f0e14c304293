/**
 * The name a member's transactions go by: `<group>/<instance>`. No two members share one: what stands behind the last '/' is the instance,
 * in which a '/' is encoded, so what stands before it is the group, whatever characters it has.
 */
export function transactionalIdOf(group: string, instance: string): string {
  return `${group}/${instance.replaceAll('%', '%25').replaceAll('/', '%2F')}`
}

/** That of a member without a name, by its seat in the group. No instance is encoded like that. */
export function transactionalIdOfSeat(group: string, seat: number): string {
  return `${group}/%seat-${seat}`
}
