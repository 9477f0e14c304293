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

/**
 * On a cluster, before anything is done. While a slot moves from one node to another its keys are on either, and a key that a script finds
 * nowhere near is not there for it: a counter would begin anew. Two keys of which one does not exist are refused on both nodes then.
 */
const WHOLE = `
redis.call('EXISTS', KEYS[1], KEYS[1] .. ':none')
`

/** KEYS: the rows. ARGV: field and start, of each place. */
const TAKE = `${ROW}
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
`

/**
 * What a command would fail for is looked for before any is run: a script is not undone. Types and numbers as they would be at that
 * command are followed in 'types' and 'numbers', and fields of hashes where any is added to.
 */
const CHECK = `
local KIND = { HSET = 'hash', HDEL = 'hash', HINCRBY = 'hash', ZADD = 'zset', ZREM = 'zset', SADD = 'set', SREM = 'set', INCRBY = 'string' }
local function check(list, adds)
  local types, numbers, fields = {}, {}, {}
  local i = 1
  while i <= #list do
    local count = list[i]
    local name, key = list[i + 1], list[i + 2]
    local kind = KIND[name]
    if kind then
      local is = types[key]
      if not is then
        is = redis.call('TYPE', key).ok
        types[key] = is
      end
      if is ~= kind then
        if is ~= 'none' then return name .. ' on ' .. key .. ', which is a ' .. is end
        types[key] = kind
        numbers[key] = '0'
        fields[key] = { none = '0' }
      end
      if name == 'INCRBY' then
        local value = numbers[key] or redis.call('GET', key)
        if not string.match(value, '^-?%d+$') or #value > 16 then return name .. ' on ' .. key .. ', whose value is no whole number below 10^15' end
        numbers[key] = string.format('%.0f', tonumber(value) + tonumber(list[i + 3]))
      elseif adds and kind == 'hash' then
        local known = fields[key]
        if not known then
          known = {}
          fields[key] = known
        end
        if name == 'HINCRBY' then
          local at = '=' .. list[i + 3]
          local value = known[at] or known.none or redis.call('HGET', key, list[i + 3]) or '0'
          if not string.match(value, '^-?%d+$') or #value > 16 then return name .. ' on ' .. key .. ', whose value is no whole number below 10^15' end
          known[at] = string.format('%.0f', tonumber(value) + tonumber(list[i + 4]))
        elseif name == 'HSET' then
          for j = i + 3, i + count, 2 do known['=' .. list[j]] = list[j + 1] end
        else
          for j = i + 3, i + count do known['=' .. list[j]] = '0' end
        end
      end
    elseif name == 'SET' then
      types[key] = 'string'
      numbers[key] = list[i + 3]
    elseif name == 'DEL' then
      types[key] = 'none'
    end
    i = i + count + 1
  end
end
`

/**
 * KEYS: the rows. ARGV: the commit, how many rows change, of each its field, position and epoch as they were, and content, then the commands
 * (a MessagePack array: of each command how many parts it has, then those), and whether fields are added to. 0 if a row has others. A commit
 * that comes twice, as a client sends again what was not answered, is done once.
 */
const COMMIT = `${ROW}${CHECK}
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
local wrong = check(list, ARGV[first + 1] == '1')
if wrong then return redis.error_reply('REFUSED ' .. wrong) end
local call = redis.call
local i = 1
while i <= #list do
  local count = list[i]
  call(unpack(list, i + 1, i + count))
  i = i + count + 1
end
for j = 3, first - 1, 3 do redis.call('HSET', KEYS[1], ARGV[j], ARGV[j + 2] .. '|' .. commit) end
return 1
`

export interface Scripts {
  readonly take: Script
  readonly commit: Script
}

export const SCRIPTS: Scripts = { take: script(TAKE), commit: script(COMMIT) }
export const CLUSTER_SCRIPTS: Scripts = { take: script(WHOLE + TAKE), commit: script(WHOLE + COMMIT) }
