-- Removes all traces of a pool.
--
-- KEYS[1]         set of the pool's agents
-- KEYS[2...]      zset of its free slots, stream of its reports, sets of its workers' agents
-- ARGV[1]         the pool's name
-- ARGV[2]         what stands before an agent's id in its key
-- Returns         how many agents were removed
local removed = 0
for _, agent in ipairs(redis.call('SMEMBERS', KEYS[1])) do
    local key = ARGV[2] .. agent
    if redis.call('HGET', key, 'pool_name') == ARGV[1] then
        removed = removed + redis.call('DEL', key)
    end
end
for i = 1, #KEYS do
    redis.call('DEL', KEYS[i])
end
return removed
