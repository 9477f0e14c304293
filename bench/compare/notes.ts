/** What a table does not say by itself, by the id of its workload or figure: where the time goes, mostly. */
export const NOTES: Readonly<Record<string, string>> = {}
