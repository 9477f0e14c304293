import { createHash } from 'node:crypto'

export interface Script {
  readonly text: string
  readonly sha: string
}

const script = (text: string): Script => ({ text, sha: createHash('sha1').update(text).digest('hex') })

/** A row is a field of a hash: position, epoch, gaps, owed and the last commit, with bars between. */
const ROW = `
local function parse(row)
  return string.match(row, '^(%d+)|(%d+)|([^|]*)|([^|]*)|([^|]*)$')
end
`

/** KEYS: the rows. ARGV: field and start, of each place. */
export const TAKE = script(`${ROW}
local rows = {}
for i = 1, #ARGV, 2 do
  local row = redis.call('HGET', KEYS[1], ARGV[i])
  if row then
    local position, epoch, gaps, owed, last = parse(row)
    row = position .. '|' .. string.format('%.0f', epoch + 1) .. '|' .. gaps .. '|' .. owed .. '|' .. last
  else
    row = ARGV[i + 1] .. '|1|' .. ARGV[i + 1] .. '||'
  end
  redis.call('HSET', KEYS[1], ARGV[i], row)
  rows[#rows + 1] = row
end
return rows
`)

/**
 * What a command would fail for is looked for before any is run: a script is not undone. Types and numbers as they would be at that
 * command are followed in 'types' and 'numbers'.
 */
const CHECK = `
local KIND = { HSET = 'hash', HDEL = 'hash', HINCRBY = 'hash', ZADD = 'zset', ZREM = 'zset', SADD = 'set', SREM = 'set', INCRBY = 'string' }
local function check(list)
  local types, numbers = {}, {}
  local function current(at, read)
    local value = numbers[at]
    if value == nil then value = read() or '0' end
    return value
  end
  local i = 1
  while i <= #list do
    local count = list[i]
    local name, key = list[i + 1], list[i + 2]
    local kind = KIND[name]
    if kind then
      local is = types[key] or redis.call('TYPE', key).ok
      if is ~= 'none' and is ~= kind then return name .. ' on ' .. key .. ', which is a ' .. is end
      if is == 'none' then
        types[key] = kind
        if name == 'INCRBY' then numbers[key] = numbers[key] or '0' end
      else
        types[key] = is
      end
      local at, by, value
      if name == 'INCRBY' then
        at, by = key, list[i + 3]
        value = current(at, function() return redis.call('GET', key) end)
      elseif name == 'HINCRBY' then
        at, by = key .. '\\0' .. list[i + 3], list[i + 4]
        if is == 'none' then value = numbers[at] or '0' else value = current(at, function() return redis.call('HGET', key, list[i + 3]) end) end
      elseif name == 'HSET' then
        for j = i + 3, i + count, 2 do numbers[key .. '\\0' .. list[j]] = list[j + 1] end
      elseif name == 'HDEL' then
        for j = i + 3, i + count do numbers[key .. '\\0' .. list[j]] = '0' end
      end
      if value then
        if not string.match(value, '^-?%d+$') or #value > 16 then return name .. ' on ' .. key .. ', whose value is no whole number below 10^15' end
        numbers[at] = string.format('%.0f', tonumber(value) + tonumber(by))
      end
    elseif name == 'SET' then
      types[key] = 'string'
      numbers[key] = list[i + 3]
    elseif name == 'DEL' then
      types[key] = 'none'
      numbers[key] = nil
      for at in pairs(numbers) do if string.sub(at, 1, #key + 1) == key .. '\\0' then numbers[at] = nil end end
    end
    i = i + count + 1
  end
end
`

/** ARGV: a MessagePack array: of each command how many parts it has, then those. Changes nothing. */
export const CHECK_ONLY = script(`${CHECK}
local wrong = check(cmsgpack.unpack(ARGV[1]))
if wrong then return redis.error_reply('REFUSED ' .. wrong) end
return 1
`)

/**
 * KEYS: the rows. ARGV: the commit, how many rows change, of each its field, position and epoch as they were, and content, then the commands as
 * above. 0 if a row has others. A commit that comes twice, as a client sends again what was not answered, is done once.
 */
export const COMMIT = script(`${ROW}${CHECK}
local commit, rows = ARGV[1], tonumber(ARGV[2])
local first = 3 + rows * 3
local again = 0
for i = 3, first - 1, 3 do
  local row = redis.call('HGET', KEYS[1], ARGV[i])
  if not row then return 0 end
  local position, epoch, _, _, last = parse(row)
  local was, taken = string.match(ARGV[i + 1], '^(%d+)|(%d+)$')
  if epoch ~= taken then return 0 end
  if last == commit then again = again + 1 elseif position ~= was then return 0 end
end
if rows > 0 and again == rows then return 1 end
local list = cmsgpack.unpack(ARGV[first])
local wrong = check(list)
if wrong then return redis.error_reply('REFUSED ' .. wrong) end
local i = 1
while i <= #list do
  local count = list[i]
  redis.call(unpack(list, i + 1, i + count))
  i = i + count + 1
end
for j = 3, first - 1, 3 do redis.call('HSET', KEYS[1], ARGV[j], ARGV[j + 2] .. '|' .. commit) end
return 1
`)
