/**
 * Who owns which partition, by the order in which the ledger took in the claims, and by nothing that the ledger
 * itself knows.
 */
export class Ownership {
  private claims = 0
  private readonly owners = new Map<number, number>()

  /** Returns the claim's number: whoever holds its answer speaks by it. */
  claimed(partitions: number[]): number {
    const claim = ++this.claims
    for (const partition of partitions) this.owners.set(partition, claim)
    return claim
  }

  holds(claim: number, partition: number): boolean {
    return this.owners.get(partition) === claim
  }
}
