import { createHash } from 'node:crypto'

/** A Lua script and what Redis knows it by. */
export interface Script {
  readonly text: string
  readonly sha: string
}

function script(text: string): Script {
  return { text, sha: createHash('sha1').update(text).digest('hex') }
}

/*
 * The value of an id: "<transaction> <generation> <group> <topic>/<partition>/<offset> <within>", the group percent-encoded, and behind a
 * line feed, where there is something to note, "<duplicates> <result>", the result empty or preceded by "=".
 *
 * KEYS: the ids. ARGV: within, what stands before the offset, what stands behind it, then the offset of each id.
 * Answers only for those that others hold: position, value, milliseconds left.
 */
export const CLAIM = script(`
local ttl, head, tail = ARGV[1], ARGV[2], ARGV[3]
local told = {}
for i = 1, #KEYS do
  local mine = head .. ARGV[i + 3] .. tail
  if not redis.call('SET', KEYS[i], mine, 'NX', 'PX', ttl) then
    local held = redis.call('GET', KEYS[i])
    if held ~= mine and string.sub(held, 1, #mine + 1) ~= mine .. '\\n' then
      told[#told + 1] = i
      told[#told + 1] = held
      told[#told + 1] = redis.call('PTTL', KEYS[i])
    end
  end
end
return told
`)

/** As CLAIM, with two arguments an id: its offset, and how the claim begins that may be taken over. */
export const TAKE_OVER = script(`
local ttl, head, tail = ARGV[1], ARGV[2], ARGV[3]
local told = {}
for i = 1, #KEYS do
  local mine = head .. ARGV[2 * i + 2] .. tail
  local over = ARGV[2 * i + 3]
  local held = redis.call('GET', KEYS[i])
  if not held or string.sub(held, 1, #over) == over then
    redis.call('SET', KEYS[i], mine, 'PX', ttl)
  elseif held ~= mine and string.sub(held, 1, #mine + 1) ~= mine .. '\\n' then
    told[#told + 1] = i
    told[#told + 1] = held
    told[#told + 1] = redis.call('PTTL', KEYS[i])
  end
end
return told
`)

/** KEYS: the ids. ARGV, two an id: further duplicates, and the result, empty or preceded by "=". */
export const NOTE = script(`
for i = 1, #KEYS do
  local held = redis.call('GET', KEYS[i])
  local left = redis.call('PTTL', KEYS[i])
  if held and left > 0 then
    local line = string.find(held, '\\n', 1, true)
    local claim, duplicates, result = held, 0, ''
    if line then
      local space = string.find(held, ' ', line, true)
      claim = string.sub(held, 1, line - 1)
      duplicates = tonumber(string.sub(held, line + 1, space - 1))
      result = string.sub(held, space + 1)
    end
    if ARGV[2 * i] ~= '' then result = ARGV[2 * i] end
    redis.call('SET', KEYS[i], claim .. '\\n' .. (duplicates + tonumber(ARGV[2 * i - 1])) .. ' ' .. result, 'PX', left)
  end
end
return 0
`)

/** KEYS: one id. Its value and the milliseconds left, of one moment. */
export const FIND = script(`
return { redis.call('GET', KEYS[1]), redis.call('PTTL', KEYS[1]) }
`)

/** KEYS: one section of exclusive ids. ARGV, two an id: the id, and how its value must begin to be taken out. */
export const REMOVE = script(`
for i = 1, #ARGV, 2 do
  local held = redis.call('HGET', KEYS[1], ARGV[i])
  if held and string.sub(held, 1, #ARGV[i + 1]) == ARGV[i + 1] then redis.call('HDEL', KEYS[1], ARGV[i]) end
end
return 0
`)

/** KEYS: one section of exclusive ids. ARGV: milliseconds to live, and fields and values as a MessagePack array. */
export const PUT = script(`
local fields = cmsgpack.unpack(ARGV[2])
for i = 1, #fields, 1000 do
  redis.call('HSET', KEYS[1], unpack(fields, i, math.min(i + 999, #fields)))
end
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return 0
`)
