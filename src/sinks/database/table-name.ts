import { z } from 'zod'

/** Names of tables and columns stand in statements as they are, so they hold nothing but names. */
export const sqlName = z.string().regex(/^[A-Za-z_][A-Za-z0-9_]*$/, { message: 'expected a name of letters, digits and "_"' })

export const tableName = z
  .string()
  .regex(/^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)?$/, { message: "expected the name of a table, or 'schema.table'" })
