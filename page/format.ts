const UNITS = ['', 'k', 'M', 'G', 'T']

/** 1234567 as '1.23M'. */
export function short(value: number | undefined): string {
  if (value === undefined) return '–'
  let [rest, unit] = [value, 0]
  while (Math.abs(rest) >= 1_000 && unit < UNITS.length - 1) {
    rest /= 1_000
    unit++
  }
  if (unit === 0) return Number.isInteger(rest) ? String(rest) : rest.toFixed(rest < 10 ? 1 : 0)
  return `${rest.toFixed(rest < 10 ? 2 : rest < 100 ? 1 : 0)}${UNITS[unit]}`
}

export function whole(value: number | undefined): string {
  return value === undefined ? '–' : Math.round(value).toLocaleString('en')
}

export function bytes(value: number): string {
  return `${short(value)}B`
}

/** 90000 as '1 min 30 s'. */
export function span(ms: number | undefined): string {
  if (ms === undefined) return '–'
  if (ms < 1_000) return `${Math.round(ms)} ms`
  const seconds = ms / 1_000
  if (seconds < 60) return `${seconds.toFixed(seconds < 10 ? 1 : 0)} s`
  const minutes = Math.floor(seconds / 60)
  if (minutes < 60) return `${minutes} min ${Math.round(seconds % 60)} s`
  const hours = Math.floor(minutes / 60)
  return hours < 48 ? `${hours} h ${minutes % 60} min` : `${Math.floor(hours / 24)} d ${hours % 24} h`
}

export function clockTime(at: number): string {
  return new Date(at).toLocaleTimeString('en-GB')
}

export function dateTime(at: number): string {
  return new Date(at).toISOString().replace('T', ' ').replace('Z', ' UTC')
}
