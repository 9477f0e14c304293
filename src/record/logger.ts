/** A logger of pino's form: an object of fields first, then the message. `console`-like loggers fit through a wrapper. */
export interface Logger {
  debug(fields: object, message: string): void
  info(fields: object, message: string): void
  warn(fields: object, message: string): void
  error(fields: object, message: string): void
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
