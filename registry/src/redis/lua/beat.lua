-- A worker's heartbeat: what changed of its hash and of its agents, and the answer.
--
-- KEYS[1..2]      the sets of agents.lua
-- KEYS[3]         hash of the worker
-- KEYS[4..6]      generation; mirror of the leader; mark of a condemned worker
-- KEYS[7...]      hashes of agents, see agents.lua
-- ARGV[1..2]      the worker's id, the pool's name
-- ARGV[3]         a generation, taken where there is none
-- ARGV[4]         the beat's number
-- ARGV[5]         seconds until the worker's hash expires, where all of its fields follow; nothing where only some do
-- ARGV[6..7]      the number of the worker's latest report, how many agents it holds
-- ARGV[8]         how many fields and values follow, for the worker's hash
-- ARGV[9...]      those, then the agents, see agents.lua
-- Returns         {generation, number up to which reports are settled and its code, mark of a condemned worker, 1 if there is a
--                 leader, number of the beat whose picture stands, 1 if nothing was written since all fields are wanted,
--                 keys of which somebody else had made something else}
local generation, leader, condemned = unpack(redis.call('MGET', KEYS[4], KEYS[5], KEYS[6]))
if not is_generation(generation) then
    generation = generation_of(KEYS[4], ARGV[3])
end
local stored, settled, code, counted = unpack(own('HMGET', KEYS[3], 'number', 'settled', 'settled_code', 'counted'))
-- The number comes again with the next settlement.
if settled and not count_of(settled) then
    redis.call('HDEL', KEYS[3], 'settled', 'settled_code')
    replaced[#replaced + 1] = KEYS[3]
    settled, code = nil, nil
end
local fields, number = tonumber(ARGV[8]), count_of(stored)
-- Nobody of us wrote what is no number, or is one that no worker comes to.
if stored and not (number and number <= tonumber(ARGV[4]) + 2 ^ 32) then
    replaced[#replaced + 1] = KEYS[3]
    number = nil
end
-- What was left out as known is gone, with the hash or without it.
local lacks = not stored and ARGV[5] == ''
-- A beat that was sent over a former connection may arrive behind a later one, whose picture then stands.
if not lacks and (not number or number <= tonumber(ARGV[4])) then
    number = tonumber(ARGV[4])
    local now = redis.call('TIME')
    local beat_at = string.format('%d%03d', now[1], math.floor(now[2] / 1000))
    if is_later_count(counted, ARGV[6]) then
        redis.call('HSET', KEYS[3], 'number', ARGV[4], 'beat_at', beat_at, unpack(ARGV, 9, 8 + fields))
    else
        redis.call('HSET', KEYS[3], 'number', ARGV[4], 'beat_at', beat_at, 'agent_count', ARGV[7], 'counted', ARGV[6],
            unpack(ARGV, 9, 8 + fields))
    end
    if ARGV[5] ~= '' then
        redis.call('EXPIRE', KEYS[3], ARGV[5])
    end
    write_agents(9 + fields, 7)
end
return {generation, count_of(settled) or 0, code or '', condemned or '', leader and 1 or 0, number or 0, lacks and 1 or 0,
    replaced}
