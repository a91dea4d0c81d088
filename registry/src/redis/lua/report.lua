-- Reports of one worker, with the agents that they are about: whoever reads the report finds the agent.
--
-- KEYS[1..2]      the sets of agents.lua
-- KEYS[3]         stream of the pool's reports
-- KEYS[4]         hash of the worker
-- KEYS[5...]      hashes of agents, see agents.lua
-- ARGV[1..2]      the worker's id, the pool's name
-- ARGV[3]         channel of the pool's events
-- ARGV[4..5]      the number of the latest of these reports, how many agents the worker holds
-- ARGV[6]         how many reports follow
-- ARGV[7...]      each as JSON, its code or nothing, and whether it is published (1 or 0), then the agents, see agents.lua
-- Returns         keys of which somebody else had made something else
local reports = tonumber(ARGV[6])
write_agents(7 + 3 * reports, 5)
-- Not where there is no hash: it would look like a worker.
local number, counted = unpack(own('HMGET', KEYS[4], 'number', 'counted'))
if number and not is_later_count(counted, ARGV[4]) then
    redis.call('HSET', KEYS[4], 'agent_count', ARGV[5], 'counted', ARGV[4])
end
for i = 7, 4 + 3 * reports, 3 do
    if ARGV[i + 1] == '' then
        own('XADD', KEYS[3], '*', 'report', ARGV[i])
    else
        own('XADD', KEYS[3], '*', 'report', ARGV[i], 'code', ARGV[i + 1])
    end
    if ARGV[i + 2] == '1' then
        redis.call('PUBLISH', ARGV[3], ARGV[i])
    end
end
return replaced
