-- Reports of one worker, with the agents that they are about: whoever reads the report finds the agent.
--
-- KEYS[1..2]      the sets of agents.lua
-- KEYS[3]         stream of the pool's reports
-- KEYS[4...]      hashes of agents, see agents.lua
-- ARGV[1..2]      the worker's id, the pool's name
-- ARGV[3]         channel of the pool's events
-- ARGV[4]         how many reports follow
-- ARGV[5...]      each as JSON and whether it is published (1 or 0), then the agents, see agents.lua
-- Returns         keys of which somebody else had made something else
local reports = tonumber(ARGV[4])
write_agents(5 + 2 * reports, 4)
for i = 5, 3 + 2 * reports, 2 do
    own('XADD', KEYS[3], '*', 'report', ARGV[i])
    if ARGV[i + 1] == '1' then
        redis.call('PUBLISH', ARGV[3], ARGV[i])
    end
end
return replaced
