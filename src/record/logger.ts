/** A logger of pino's form: an object of fields first, then the message. `console`-like loggers fit through a wrapper. */
export interface Logger {
  debug(fields: object, message: string): void
  info(fields: object, message: string): void
  warn(fields: object, message: string): void
  error(fields: object, message: string): void
}

/** What a line of the log is about; see `limitLog`. */
export type LogArea = 'engine' | 'group' | 'state' | 'steps' | 'log'

const AREA = Symbol('area')
const parents = new WeakMap<Logger, Logger>()

/** A logger whose lines are about an area. The area goes with the fields, and is not one of them: what is logged stays as it is. */
export function inArea(logger: Logger, area: LogArea): Logger {
  const placed = (fields: object): object => Object.defineProperty({ ...fields }, AREA, { value: area })
  const made: Logger = {
    debug: (fields, message) => logger.debug(placed(fields), message),
    info: (fields, message) => logger.info(placed(fields), message),
    warn: (fields, message) => logger.warn(placed(fields), message),
    error: (fields, message) => logger.error(placed(fields), message),
  }
  parents.set(made, logger)
  return made
}

/** The logger that one for an area tells. */
export function parentOf(logger: Logger): Logger | undefined {
  return parents.get(logger)
}

/** What a line is about, by its fields. */
export function areaOf(fields: object): LogArea {
  return (fields as { readonly [AREA]?: LogArea })[AREA] ?? 'engine'
}

function line(level: string, fields: object, message: string): void {
  const detail = Object.entries(fields)
    .filter(([, value]) => value !== undefined)
    .map(
      ([name, value]) => ` ${name}=${value instanceof Error ? value.message : typeof value === 'string' ? value : JSON.stringify(value)}`,
    )
    .join('')
  process.stderr.write(`millrace ${level}: ${message}${detail}\n`)
}

/** The default: warnings and errors, one line each, on stderr; nothing while all is well. */
export const quietLogger: Logger = {
  debug: () => {},
  info: () => {},
  warn: (fields, message) => line('warn', fields, message),
  error: (fields, message) => line('error', fields, message),
}

export const silentLogger: Logger = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} }
