/** Which claim owns each partition, by the order of claims and independent of the ledger's state. */
export class Ownership {
  private claims = 0
  private readonly owners = new Map<number, number>()

  /** Returns the claim's number. */
  claimed(partitions: number[]): number {
    const claim = ++this.claims
    for (const partition of partitions) this.owners.set(partition, claim)
    return claim
  }

  holds(claim: number, partition: number): boolean {
    return this.owners.get(partition) === claim
  }
}
