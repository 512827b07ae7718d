/** Ends the run with one line that counts what passed and failed; a file that could not even run has failed. */
module.exports = class CountReporter {
  onRunComplete(_contexts, results) {
    const failed = results.numFailedTests + results.numRuntimeErrorTestSuites
    const skipped = results.numPendingTests + results.numTodoTests
    const line = `${results.numPassedTests} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}\n`
    // After jest's own summary, which it writes later than this.
    process.once('exit', () => process.stdout.write(line))
  }
}
