/** What a table does not say by itself, by the id of its workload or figure: where the time goes, mostly. */
export const NOTES: Readonly<Record<string, string>> = {
  W12b: `Where the time goes (\`perf\`, 40,000 records): 24 % collecting garbage, 17 % compiling and 12 % running what is not compiled yet, which a
longer run divides by more records, 17 % sockets and page faults in the kernel, 6 % CRC, 5 % copying. Garbage: V8 counts the bytes of answers as
the heap's, and at a heap of 20 MB marks all of it each time that 24 MB have come. Their memory cannot be used again, as a record that user code keeps is read out
of it whenever that asks.`,
  W7: `At 10 ms a record is in its slice 7 ms after it was made, waits up to 10 ms for the end of the interval, and for 4 ms for the commit: Produce takes 2 ms,
TxnOffsetCommit beside it 3 ms, EndTxn 0.5 ms. What is beyond is not ours alone: of the Produces of the program that makes the records one in a hundred takes 24 ms or more.`,
}
